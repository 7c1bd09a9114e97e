# --check finds what is wrong with a quantized folder.
baleen quantize $MODEL small --to int8 -q --isa scalar >/dev/null 2>&1
try baleen quantize --check small
flip() { # FILE OFFSET
  local byte
  byte=$(od -An -t u1 -j "$2" -N 1 "$1")
  printf "\\x$(printf %02x $((byte ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
flip small/model.safetensors 1000000
try baleen quantize --check small
try baleen quantize --check small --json
flip small/model.safetensors 1000000
flip small/tokenizer.json 40
try baleen quantize --check small
flip small/tokenizer.json 40
try baleen quantize --check small
for file in config.json baleen-quantize.json; do
  cp small/$file kept
  : >small/$file
  try baleen quantize --check small
  cp kept small/$file
done
truncate -s -1 small/model.safetensors
try baleen quantize --check small
try baleen quantize --check $MODEL

# --calibrate: what is wrong with the text, or with what may be spent on it, is found before the work.
printf 'A gallon of water weighs about eight pounds, and so the whale swims on.' >text
printf 'caf\xe9' >latin1
: >empty
printf 'a' >short
for run in --dry-run out; do
  calibrate() { baleen quantize $MODEL $run --isa scalar "$@"; }
  try calibrate --to int4 --calibrate nowhere
  try calibrate --to int4 --calibrate latin1
  try calibrate --to int4 --calibrate empty
  try calibrate --to int4 --calibrate text --calibrate-tokens 1
  try calibrate --to int4 --calibrate text --memory 1
  try calibrate --target-size 1M --calibrate nowhere
  ls -d out* 2>/dev/null
done
# Options that mean nothing without a text.
try baleen quantize $MODEL --to int4 --memory 1 --dry-run
try baleen quantize $MODEL --to int4 --calibrate-tokens 5 --dry-run
try baleen quantize $MODEL --to int4 --method gptq --dry-run
BALEEN_MEMORY=1 baleen quantize $MODEL --to int4 --dry-run >/dev/null && echo 'a bound in the environment is for others'
# A good text.
calibrate --to int4 --calibrate text --dry-run -q >/dev/null && ls -d out* 2>/dev/null
calibrate --to int4 --calibrate text -q >/dev/null && baleen quantize --check out >/dev/null && echo whole

# A model made small: what it would take, the work, what becomes of it.
try baleen quantize $MODEL --to int4 --group 64 --dry-run --isa scalar
ls
try baleen quantize $MODEL small --to int8 --verify --isa scalar
ls small
baleen run -m $MODEL --isa scalar --greedy -n 8 hello >before
baleen run -m small --isa scalar --greedy -n 8 hello >after
cmp before after && echo 'the same tokens'
try baleen quantize --check small
try baleen quantize $MODEL small.json --to int4 --shard-size 1M --json -q --isa scalar
ls small.json
try baleen quantize --check small.json --json
# JSON: kinds, and errors by layer.
baleen quantize $MODEL --to fp8 --dry-run --json --isa scalar |
  jq -c '[.schema, .bytes_before, .bytes_after, .shards, .error, (.kinds | length), (.layers | length), .kept_by_group]'
baleen quantize $MODEL --to int8 --group 128 --dry-run --json --isa scalar 2>/dev/null | jq -c '.kept_by_group | [length, .[0]]'
# Parts of it alone, by kind and by name.
for choice in '--bits experts=int4,attention=int8' '--bits all=int8,dense=keep' '--to int8 --keep layers\.0\.' \
  '--to mxfp4 --only experts' '--to int8 --group channel'; do
  echo "$choice"
  baleen quantize $MODEL --dry-run --json --isa scalar $choice 2>/dev/null | jq -r '.kinds[] | "  \(.kind): \(.matrices) \(.becomes)"' | sort
done
# All formats run, and say what they are.
for format in int8 int4 fp8 mxfp4; do
  baleen quantize $MODEL as-$format --to $format -q >/dev/null 2>&1
  baleen quantize --check as-$format >/dev/null || echo "$format: wrong"
  baleen run -m as-$format --greedy -n 2 hello >/dev/null || echo "$format: does not run"
done
# Success without -v is silent on standard error, but for what other programs would not load.
baleen quantize $MODEL again --to int8 2>&1 >/dev/null
baleen quantize $MODEL quick --to int8 -v 2>&1 >/dev/null | sed -E 's/[0-9.]+ (s|ms|MB\/s)/N \1/g'

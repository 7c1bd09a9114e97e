# examples/count-tokens: as wc, in tokens.
export BALEEN="$PROGRAM"
count() { "$SOURCE/examples/count-tokens" "$@"; }
printf '347 + 589' >sum
: >empty
printf 'caf\xe9' >latin
printf '<|user|>7' >-dash
for file in sum empty; do baleen run --dry-run --raw --format jsonl -f $file | jq -c .ids; done
try count sum
try count sum empty ./-dash
try count sum latin nowhere sum
count <sum
try count latin
# A tokenizer that puts nothing in front of a text, without a model.
ln -s "$GOLDEN/tiny-tokenizer" tiny
BALEEN_MODEL=tiny count sum
BALEEN_MODEL=nowhere try count sum

# What a model is. The memory of this machine is not in the transcript.
try baleen run -m $MODEL --isa scalar --inspect | sed -e 's/this machine has .*/this machine has .../'
baleen run -m $MODEL --inspect --json --ctx 100 --kv-type int8 | jq 'del(.memory.total_bytes, .memory.available_bytes, .memory.enough)'
try baleen run -m $MODEL --inspect hello
try baleen run -m $MODEL --inspect -f prompt
try baleen run -m $MODEL --inspect --dry-run
make_model deepseek_v3-int4 int4
baleen run -m int4 --inspect | sed -n '/^weights/,/^all/p'
# The session in README.md.
(cd "$SOURCE" && baleen run -m examples/model --inspect) | head -n 6 |
  diff - <(sed -n '/^\$ .*--inspect$/,/^\.\.\.$/p' "$SOURCE/README.md" | sed '1d; $d') && echo 'README.md: the same'

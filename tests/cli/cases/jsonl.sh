# The JSON object: its fields, their order and types.
show='del(.timings) | .timings = "checked"'
run() { baleen run -m $MODEL --isa scalar --format jsonl "$@" | tee object | jq -c 'del(.timings)'; jq -c '.timings | map_values(type)' object; wc -l <object; }
try run --greedy -n 6 'Once upon a time'
try run --greedy -n 0 'Once upon a time'
try run --greedy -n 2 --echo --logprobs 2 'Once'
try run --greedy -n 6 --ids '40 41 42'
try run --seed 7 -n 6 'Once upon a time'
try run --seed 7 -n 6 --temp 1.5 --top-k 40 --min-p 0.01 --repeat-penalty 1.1 'Once upon a time'
baleen run -m $MODEL --isa scalar --format jsonl -n 3 hello | jq -r 'keys_unsorted | join(" ")'
baleen run -m $MODEL --isa scalar --format jsonl -n 3 --logprobs 0 hello | jq -r 'keys_unsorted | join(" ")'

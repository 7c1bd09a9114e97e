# Context: too long a prompt is an error that names both lengths; -1 fills it.
ids() { seq -s ' ' 10 $(($1 + 9)); }
try baleen run -m $MODEL --isa scalar --ctx 8 --ids '3 4 5 6 7 8 9 10 11'
try baleen run -m $MODEL --isa scalar --ctx 513 --ids '3 4'
baleen run -m $MODEL --isa scalar --ctx 20 -n -1 --ignore-eos --greedy --ids "$(ids 5)" | wc -w
baleen run -m $MODEL --isa scalar -n -1 --ignore-eos --greedy --ids "$(ids 400)" | wc -w
baleen run -m $MODEL --isa scalar --ctx 5 --greedy --format jsonl --ids "$(ids 5)" |
  jq -c '[.finish_reason, .completion_tokens]'

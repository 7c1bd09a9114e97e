# Text: streamed, a newline at the end, the prompt with --echo, no part of a stop string.
run() { baleen run -m $MODEL --isa scalar --greedy "$@"; }
try run -n 12 'Once upon a time'
try run -n 12 --echo 'Once upon a time'
try run -n 0 'Once upon a time'
try run -n 0 --echo 'Once upon a time'
try run -n 3 --logprobs 2 'Once upon a time'
try run -n 1 --echo --logprobs 1 'Once'
text=$(run -n 40 --ignore-eos 'Once upon a time')
# A stop string from the middle of the text, found wherever tokens end.
stop=${text:10:5}
[ "$(run -n 40 --ignore-eos --stop "$stop" 'Once upon a time')" = "${text%%"$stop"*}" ] && echo 'stop string: ok'
run -n 40 --ignore-eos --stop "$stop" --format jsonl 'Once upon a time' | jq -c '[.finish_reason, .completion_tokens < 40]'

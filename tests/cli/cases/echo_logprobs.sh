# Log-probabilities of a prompt: none for its first token, and those of a text do not depend on where the
# prompt ends and generation begins.
run() { baleen run -m $MODEL --isa scalar --greedy --ids --format jsonl --logprobs 1 "$@" | jq -c '[.logprobs[] | [.id, .logprob, (.top | length)]]'; }
try run -n 0 --echo '40 41 42 43'
run -n 0 --echo '40 41 42 43' >all
run -n 0 --echo '40 41' >part
[ "$(jq -c '.[:2]' all)" = "$(cat part)" ] && echo 'prefix: same'

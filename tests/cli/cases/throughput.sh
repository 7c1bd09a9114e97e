# --throughput: generated tokens by the kernels for prompts. As independent of each other as without.
for i in 1 2 3 4 5; do echo "{\"ids\": [4$i, 41, 42], \"n\": $((i + 2))}"; done >lines.jsonl
run() { baleen run -m $MODEL --throughput --batch lines.jsonl --greedy --ignore-eos "$@" | jq -c 'del(.timings)'; }
run --parallel 1 >alone
jq -c '.completion_tokens' alone
for more in '--parallel 2' '--parallel 5 -t 3'; do
  run $more | cmp - alone && echo "$more: the same"
done
# The scalar reference has the same kernels for both.
baleen run -m $MODEL --isa scalar --greedy -n 5 --ids '40 41 42' >plain
baleen run -m $MODEL --isa scalar --greedy -n 5 --ids --throughput '40 41 42' | cmp - plain && echo 'scalar: the same'
# Logs know which tokens were generated all the same.
baleen run -m $MODEL --isa scalar --greedy --ignore-eos -n 3 --ids --throughput --route-log log '40 41 42' >answer
jq -c 'select(has("r")) | [.p, .g]' log
baleen run -m $MODEL --isa scalar -n 1 -t 2 -v --throughput hello 2>&1 >answer | grep '^kernels'
baleen bench -q -m $MODEL --isa scalar -p 1 -n 1 -d 0 -b 2 -r 1 --throughput --json | jq -c '.throughput, (.tests | length)'
echo text >text
try baleen bench -m $MODEL --throughput --ppl text

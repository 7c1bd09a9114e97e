# What the experts do: the report, JSON and CSV that add up, and what else there is to ask for.
export BALEEN_MODEL=$MODEL BALEEN_ISA=scalar
baleen run --ids --greedy -n 20 --label a --route-log log "$(seq 10 60 | tr '\n' ' ')" >/dev/null
baleen run --ids --greedy -n 20 --label b --route-log log --route-log-detail scores "$(seq 200 3 350 | tr '\n' ' ')" >/dev/null
baleen route-stats log
baleen route-stats --ascii --layer 2 --top 3 log
baleen route-stats --by prompt log | sed -n 2p
# JSON and CSV say what the log does; JSON is an input too.
baleen route-stats --json log >json
jq -c '[.schema, .model, .tokens, .prompt_tokens, .generated_tokens, (.layers | length), (.layers[0] | keys)]' json
jq -c '[.layers[] | (.load | add) == .tokens * .top_k] | all' json
jq -s -c '[.[] | select(has("r")) | .e[0][]] | group_by(.) | map(length) | sort' log
jq -c '.layers[0].load | map(select(. > 0)) | sort' json
baleen route-stats --json json | jq -c '.layers' | cmp - <(jq -c .layers json) && echo same
jq -c '.layers[]' json | baleen route-stats --json - | jq -c '.layers' | cmp - <(jq -c .layers json) && echo same
baleen route-stats --csv log | sed 1q
baleen route-stats --csv log | awk -F, 'NR > 1 { sum += $3 } END { print sum }'
baleen route-stats --csv --by label log | cut -d, -f 1 | sort | uniq -c
# Parts, halves, pairs, comparisons, caches.
baleen route-stats --by label --top 2 log | sed -n '/^label/,$p'
baleen route-stats --by phase --json log | jq -c '[.by.parts[] | [.key, .layers[0].tokens]]'
baleen route-stats --by token --top 2 log | tail -n 4
baleen route-stats --stability --json log | jq -c '[.stability.tokens, (.stability.divergence | length), (.stability.movers | length)]'
baleen route-stats --compare json log | grep -A 2 '^Beside'
baleen route-stats --coactivation --json log | jq -c '[.coactivation[] | .tokens > .tokens_by_chance] | all'
baleen route-stats --cache-curve --json log | jq -c '.cache.each_layer | [.lru_hits[0], .lru_hits[-1] == .best_hits[-1], .lfu_hits[-1] < .reads]'
baleen route-stats --cache-curve --json log | jq -c '.cache.all_layers_together | . as $c | [(.baleen_slots | length), .baleen_slots[-1] == (.lru_hits | length) - 1, .baleen_hits[-1] == .best_hits[-1], ([range(10) | $c.baleen_hits[.] <= $c.best_hits[$c.baleen_slots[.]]] | all)]'
baleen route-stats --cache-curve --cache-budget 100K --expert-bytes 10K --disk 1M log | grep -c -E '^100.* 10 of them|^(passes|generating|with prompts) '
baleen route-stats --cache-curve --cache-budget 100K --disk 1M -m "$MODEL" --json log | jq -c '.cache.budget | [.bytes, .slots == (.bytes / .expert_bytes | floor), .prompt.tokens, .generated.tokens, (.generated | (.tokens_per_second_at_most * .bytes_per_token - 1048576) < 1), .prompt.reads + .generated.reads]'
baleen route-stats --cache-curve --json log | jq -c '.cache.all_layers_together.reads'
try baleen route-stats --cache-curve --cache-budget 1K -m "$MODEL" log
try baleen route-stats --cache-curve --cache-budget 1K log
try baleen route-stats --cache-budget 1K log
try baleen route-stats --cache-curve --disk 1G log
try baleen route-stats --cache-curve --cache-budget 100K --expert-bytes 10K --decode-tps 5 log
try baleen route-stats --cache-curve --cache-budget 100K --expert-bytes 10K --disk 1M --decode-tps 0 log
baleen route-stats --cache-curve --cache-budget 100K --expert-bytes 10K --disk 1M --decode-tps 5 log | grep -E '^passes .*read a token|^generating'
baleen route-stats --cache-curve --cache-budget 100K --expert-bytes 10K --disk 1M --decode-tps 5 --json log | jq -c '.cache.budget | (.prompt | has("tokens_per_second_without_overlap")), (.generated | .tokens_per_second_at_most, (1 / (1 / 5 + .bytes_per_token / 1048576) / .tokens_per_second_without_overlap - 1 | fabs < 1e-9))'
# Tokens generated beside a prompt are read in its passes.
printf '%s\n' '{"ids":[10,11,12],"n":2}' '{"ids":[20,21,22,23],"n":6}' '{"ids":[30,31],"n":2}' | baleen run --batch - --parallel 2 --greedy --ignore-eos --route-log mixed >/dev/null
baleen route-stats --cache-curve --cache-budget 100K --expert-bytes 10K mixed | grep -E '^tokens|^passes|^with prompts|^generating'
# Placement, biases, pictures.
baleen route-stats --plan --replicas 12 --gpus 4 log | jq -c '[.schema, .replicas, .gpus, (.layers[0] | (.phy2log | length), (.logcnt | add)), .after.gpu_max_over_mean <= .before.gpu_max_over_mean]'
try baleen route-stats --suggest-bias 0.001 log
baleen run --ids --greedy -n 20 --route-log scores --route-log-detail scores "$(seq 10 60 | tr '\n' ' ')" >/dev/null
baleen route-stats --suggest-bias 0 scores >bias
baleen route-stats --simulate-bias bias --json scores | jq -c '[(.layers | map(.load)) == (.simulated_layers | map(.load))]'
baleen route-stats --suggest-bias 0.01 scores | jq -c '[.gamma, (.layers | length)]'
try baleen route-stats --svg picture.svg --json -q log >/dev/null
head -c 4 picture.svg
echo
try baleen route-stats --svg picture.svg log
# On the fly.
echo 'Some text to read.' >text
baleen route-stats -f text --json | jq -c '[.model, .tokens > 0, .generated_tokens]'

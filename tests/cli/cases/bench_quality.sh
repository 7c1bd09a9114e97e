# Perplexity is what the log-probabilities of `run` make it.
make_model deepseek_v3-int4 int4
printf 'A gallon of water weighs about eight pounds, and so the whale swims on.' >text
nats=$(baleen run -m $MODEL --isa scalar --raw -f text -n 0 --echo --logprobs 1 | awk -F '\t' '$3 != "-" { sum -= $3; n++ } END { print sum / n }')
baleen bench -m $MODEL --isa scalar --ppl text --json >object
jq -c 'keys' object
jq --argjson nats "$nats" '(.nats_per_token - $nats | fabs) < 1e-5, (.perplexity - (.nats_per_token | exp) | fabs) < 1e-9' object
baleen bench -m $MODEL --isa scalar --ppl text --ctx 8 --json | jq -c '[.tokens, .predicted_tokens, .window_tokens]'
baleen bench -m $MODEL --isa scalar --ppl text | sed -e 's/, [0-9.]* nats/, ... nats/' -e 's/^perplexity .*,/perplexity ...,/'
# A model from itself, and from another.
baleen bench -m $MODEL --isa scalar --ppl text --kl $MODEL | sed -n '/^KL/,$p'
baleen bench -m $MODEL --isa scalar --ppl text --kl int4 --json |
  jq -c '.reference, (.kl_nats | map_values(keys)), .kl_nats.all.mean > 0, .kl_nats.all.positions == .kl_nats.same_experts.positions + .kl_nats.rerouted.positions'
baleen bench -m $MODEL --isa scalar --ppl text --kl $MODEL --json | jq -c '.kl_nats.rerouted, (.kl_nats.all | map_values(type))'
# Not the same tokenizer; nothing to predict.
try baleen bench -m $MODEL --ppl text --kl "$SOURCE/examples/model" 2>&1 | sed "s|$SOURCE|SOURCE|"
mkdir other && ln -s ../model/config.json ../model/model.safetensors other/ && jq '.version = "2.0"' model/tokenizer.json >other/tokenizer.json
try baleen bench -m $MODEL --ppl text --kl other
: >empty
try baleen bench -m $MODEL --ppl empty
printf 'caf\xe9' >latin1
try baleen bench -m $MODEL --ppl latin1

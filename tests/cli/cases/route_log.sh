# Route logs while a model runs: what they hold, how they grow, what is refused.
export BALEEN_MODEL=$MODEL BALEEN_ISA=scalar
try baleen run --ids --greedy -n 3 --route-log log '10 11 12'
sed 1q log
jq -c 'select(has("r")) | [.r, .n, .p, .t, .g, .l, (.e | length), (.e[0] | length), (.w[0] | length), has("s")]' log
# It grows, and holds a label.
baleen run --ids --greedy -n 0 --label news --route-log log --route-log-detail experts '20 21'
jq -c 'select(has("r")) | [.r, .p, .t, .l, has("w")]' log | tail -n 2
# Counts sum to tokens x top-k; scores come with the bias.
baleen run --ids --greedy -n 3 --route-log counts --route-log-detail counts '10 11 12' >/dev/null
jq -c 'select(has("load")) | [.tokens, .g, (.load | map(add))]' counts
baleen run --ids --greedy -n 1 --route-log scores --route-log-detail scores '10 11 12' >/dev/null
jq -c 'if has("bias") then [.detail, (.bias | length), (.bias[0] | length)] else [(.s | length), (.s[0] | length)] end' scores
# Batches: a line's label wins over the command line's, its id is told.
printf '%s\n' '{"id":"x","ids":[10,11,12],"label":"a"}' '{"id":"y","ids":[20,21]}' |
  baleen run --batch - -n 2 --greedy --label other --route-log batch -o /dev/null
jq -c 'select(has("request"))' batch
jq -c 'select(has("r")) | [.r, .p, .g, .l]' batch | sort
# What is refused.
try baleen run --ids --route-log - 10
try baleen run --ids --label x 10
try baleen run --ids --route-log-detail scores 10
try baleen run --ids --route-log log --label '' 10
try baleen run --ids --route-log log --route-log-detail much 10
echo notes >notes
try baleen run --ids -n 1 --route-log notes 10
cat notes
make_model mixtral other
try baleen run -m other --ids -n 1 --route-log log 10
try baleen run --ids -n 1 --greedy --route-log /dev/full 10
try baleen run --ids -n 1 --greedy --route-log none/log 10

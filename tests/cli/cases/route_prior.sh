# --route-stats at the end of a run, and --route-prior at the beginning of the next.
export BALEEN_MODEL=$MODEL BALEEN_ISA=scalar
run() { baleen run --ids --greedy -n 6 "$@" '10 11 12'; }
run >plain
run --route-stats stats --route-log log | cmp - plain && echo same
# As route-stats prints it of the log.
baleen route-stats --json log >of_log
cmp stats of_log && echo 'as of the log'
jq -c '[.schema, .model, .tokens, .prompt_tokens, .generated_tokens, (.layers | length)]' stats
jq -c '.layers[] | [.layer, .tokens, .top_k, (.load | add)]' stats
run --route-stats alone >/dev/null
cmp stats alone && echo 'the same without a log'
# A batch: all of its tokens.
printf '%s\n' '{"ids":[10,11,12]}' '{"ids":[20,21]}' |
  baleen run --batch - -n 3 --greedy --route-stats batch -o answers
jq -c '[.prompt_tokens, .generated_tokens]' batch
# It is never written over without --force.
try run --route-stats stats
run --route-stats stats --force >/dev/null && cmp stats alone && echo 'written anew'
try run --route-stats none/stats
try run --route-stats /dev/full
try run --route-stats -
try run --prompt-cache -
ls ./- 2>&1
try run --force
# What the next run begins with.
least=$(baleen run --inspect --json --memory 1G | jq .memory.budget.least_bytes)
for prior in stats log batch; do
  run --memory $least --route-prior $prior | cmp - plain && echo same
done
run --memory 1G --route-prior stats | cmp - plain && echo same
try run --route-prior stats
try run --memory $least --route-prior missing
echo notes >notes
try run --memory $least --route-prior notes
make_model mixtral other
baleen run -m other --ids -n 1 --route-stats of_other 10 >/dev/null
try run --memory $least --route-prior of_other
# An interrupted run leaves none.
begin() { exec "$PROGRAM" run --ids -t 1 "$@"; }
begin -o answer --route-stats half -n -1 --ignore-eos --temp 1 10 &
until ls .answer.* >temporary 2>&1; do :; done
kill -TERM $!
wait $!
echo "status $?"
ls half answer 2>&1

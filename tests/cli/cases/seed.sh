# The same seed gives the same tokens for any number of threads, another seed others.
run() { baleen run -m $MODEL --isa scalar --ids -n 30 --ignore-eos "$@" '40 41 42'; }
one=$(run --seed 1 -t 1)
[ "$(run --seed 1 -t 2)" = "$one" ] && [ "$(run --seed 1 -t 3)" = "$one" ] && echo 'threads: same'
[ "$(run --seed 2)" != "$one" ] && echo 'seed 2: other'
[ "$(run)" != "$(run)" ] && echo 'no seed: fresh ones'
[ "$(run --top-k 1)" = "$(run --greedy)" ] && echo 'top-k 1: greedy'
[ "$(run --temp 0)" = "$(run --greedy)" ] && echo 'temp 0: greedy'
# The seed that -v shows repeats a run.
run -v >first 2>log
seed=$(sed -n 's/.*seed \([0-9]*\).*/\1/p' log)
[ "$(run --seed "$seed")" = "$(cat first)" ] && echo 'seed from -v: same'
# generation_config.json
cp -rL $MODEL tuned
greedy=$(run --greedy)
echo '{"do_sample": false, "temperature": 0.9}' >tuned/generation_config.json
[ "$(baleen run -m tuned --isa scalar --ids -n 30 --ignore-eos '40 41 42')" = "$greedy" ] && echo 'do_sample false: greedy'
echo '{"temperature": 0.25, "top_k": 7, "eos_token_id": [1, 2]}' >tuned/generation_config.json
baleen run -m tuned --isa scalar --ids -n 1 --seed 3 -v '40 41 42' 2>&1 >/dev/null | sed -n 's/^sampling *//p'
baleen run -m tuned --isa scalar --ids -n 1 --seed 3 --temp 1 -v '40 41 42' 2>&1 >/dev/null | sed -n 's/^sampling *//p'
echo '{"temperature": "hot"}' >tuned/generation_config.json
try baleen run -m tuned --ids '40 41 42'

# --samples: several answers to a prompt, each what its own seed gives.
draw() { baleen run -m $MODEL --isa scalar --temp 2 --seed 40 -n 5 "$@"; }
draw --samples 3 hello | jq -c 'del(.timings)'
for seed in 40 41 42; do baleen run -m $MODEL --isa scalar --temp 2 --seed $seed -n 5 --format jsonl hello | jq -c .ids; done
draw --samples 3 --parallel 1 -t 1 hello | jq -c .ids
# Rewards: how many tokens of even number there are, say.
cat >even <<'SH'
jq '[.ids[] | select(. % 2 == 0)] | length'
SH
draw --samples 4 --reward 'sh even' hello | jq -c '[.sample, .ids, .reward, .advantage]'
draw --samples 1 --reward 'sh even' hello | jq -c '[.sample, .reward, .advantage]'
draw --reward 'echo 1.5' --samples 2 hello | jq -c '[.sample, .reward, .advantage]'
# A judge that fails is an error of that sample; the others still have theirs.
draw --samples 3 --reward 'jq -e "if .sample == 1 then false else .sample end"' hello >judged
echo "status $?"
jq -c '[.sample, .reward, .advantage, .error]' judged
draw --samples 1 --reward 'true' hello | jq -c '[.reward, .error]'
draw --samples 1 --reward 'echo fine' hello | jq -c '[.reward, .error]'
# What the judge sees.
draw --samples 1 --reward 'tee seen | wc -c' hello | jq -c 'del(.timings, .reward, .advantage)'
jq -c 'del(.timings)' seen
# A batch with samples.
printf '%s\n' '{"id": "a", "prompt": "one", "label": "x"}' '{"id": "b", "prompt": "two", "seed": 1}' >lines.jsonl
draw --batch lines.jsonl --samples 2 --reward 'sh even' | jq -c '[.id, .label, .sample, .ids, .reward, .advantage]'
# Its judge also sees what the line says beside the prompt.
echo '{"prompt": "one", "label": "x", "question": {"of": "ours"}}' >lines.jsonl
draw --batch lines.jsonl --samples 1 --reward 'tee seen | jq "[.label, .extra.question.of] == [\"x\", \"ours\"] | if . then 1 else 0 end"' |
  jq -c 'del(.timings)'
jq -c 'del(.timings)' seen
try draw --samples 0 hello
try draw --reward 'echo 1' hello
try draw --samples 2 --reward '' hello
try draw --samples 2 --format text hello
# What cannot begin leaves no file behind.
try draw --samples 2 --ctx 2 -o none.jsonl 'hello there'
[ -e none.jsonl ] || echo 'no file'
# Interrupted: the samples that were drawn until then are shown.
begin() { exec "$PROGRAM" run -m $MODEL --isa scalar --temp 2 --seed 40 -n 5 "$@"; }
begin --samples 5000 --reward 'echo 1 | tee -a judged_until' hello >until_then &
until [ -s judged_until ]; do sleep 0.02; done
kill -TERM $!
wait $!
echo "status $?"
jq -cs '[length > 0, length < 5000, [.[].sample] == [range(length)]]' until_then

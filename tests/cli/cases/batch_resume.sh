# --resume: whatever ends a batch, its file ends up with every line once, in order.
cat >make.jq <<'JQ'
range(120) | {id: "line \(.)", prompt: ("a" * (1 + . % 7)), n: (1 + . % 5)}
JQ
jq -nc -f make.jq >lines.jsonl
run() { baleen run -m $MODEL --isa scalar -t 1 --batch lines.jsonl --temp 1 --seed 7 --parallel 3 "$@"; }
begin() { exec "$PROGRAM" run -m $MODEL --isa scalar -t 1 --temp 1 --seed 7 --parallel 3 "$@"; }
results() { jq -c 'del(.timings)' "$1"; }
run -o whole.jsonl
results whole.jsonl >expected
wc -l <expected
# Killed at ten moments that are spread over the run.
for lines in 3 11 20 29 41 50 66 77 90 104; do
  begin --batch lines.jsonl -o killed.jsonl --resume &
  until [ -e killed.jsonl ] && [ "$(wc -l <killed.jsonl)" -ge $lines ]; do kill -0 $! 2>/dev/null || break; done
  { kill -9 $!; wait $!; } 2>/dev/null
done
printf '{"schema":1,"id":"line 1' >>killed.jsonl # as if it had been killed within a line
run -o killed.jsonl --resume
results killed.jsonl | cmp - expected && echo 'killed ten times: the same'
run -o killed.jsonl --resume
results killed.jsonl | cmp - expected && echo 'nothing left to do: the same'
# Interrupted: what is whole is in the file, a cancelled answer is not. A run cannot end before the signal comes,
# however late that is: more lines could follow.
mkfifo more
begin --batch more -o interrupted.jsonl &
exec 3>more
cat lines.jsonl >&3
until [ -e interrupted.jsonl ] && [ "$(wc -l <interrupted.jsonl)" -ge 5 ]; do :; done
kill -TERM $!
wait $!
echo "status $?"
exec 3>&-
grep -c cancelled interrupted.jsonl
run -o interrupted.jsonl --resume
results interrupted.jsonl | cmp - expected && echo 'interrupted: the same'
# On standard output what was generated until then is shown.
begin --batch more >shown &
exec 3>more
cat lines.jsonl >&3
until [ -s shown ]; do :; done
kill -TERM $!
wait $!
echo "status $?"
exec 3>&-
tail -c 1 shown | od -An -c
# A file that is not of this batch loses nothing.
head -n 5 whole.jsonl | sed 's/line 3/line 33/' >other.jsonl
cp other.jsonl kept
try run -o other.jsonl --resume
cmp other.jsonl kept && echo untouched
echo 'some notes' >notes
try run -o notes --resume
cat notes
printf 'a line that was never ended' >notes
try run -o notes --resume
cat notes
echo
head -n 3 lines.jsonl >short.jsonl
try baleen run -m $MODEL --batch short.jsonl -o whole.jsonl --resume
try run -o whole.jsonl
try run -o whole.jsonl --samples 2 --resume
run -o whole.jsonl --force --seed 8
results whole.jsonl | cmp -s - expected || echo 'another seed, other results'
# Nor does one with other results: with rewards or without, of another schema, with neither text nor error.
three() { baleen run -m $MODEL --isa scalar --batch short.jsonl -n 2 --greedy -o three.jsonl "$@"; }
wrong() { cp three.jsonl kept; try three --resume "$@"; cmp three.jsonl kept && echo untouched; }
three
wrong --reward 'echo 1'
three --reward 'exit 1' --force 2>message
head -n 2 three.jsonl >two && mv two three.jsonl
wrong
three --reward 'echo 1' --resume
jq -c '[.id, .reward, .error]' three.jsonl
echo '{"id":"line 0","schema":2,"text":"a"}' >three.jsonl
wrong
echo '{"schema":1,"id":"line 0"}' >three.jsonl
wrong
# A line with an error is done.
printf '%s\n' '{"id": 1, "prompt": "a"}' bad '{"id": 3, "prompt": "b"}' >with_error.jsonl
try baleen run -m $MODEL --isa scalar --batch with_error.jsonl --greedy -n 1 -o errors.jsonl
head -n 2 errors.jsonl >two
mv two errors.jsonl
try baleen run -m $MODEL --isa scalar --batch with_error.jsonl --greedy -n 1 -o errors.jsonl --resume
jq -c '[.id, .error != null]' errors.jsonl
# Groups of samples are whole or done again.
samples() { baleen run -m $MODEL --isa scalar --batch with_error.jsonl --temp 1 --seed 3 -n 3 --samples 3 -o groups.jsonl "$@"; }
try samples
results groups.jsonl >expected
jq -c '[.id, .sample, .error != null]' groups.jsonl
head -n 6 groups.jsonl >six
mv six groups.jsonl
try samples --resume
results groups.jsonl | cmp - expected && echo 'groups: the same'

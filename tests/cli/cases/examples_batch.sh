# examples/batch: a program that is killed again and again ends up with every line answered.
export BALEEN_ISA=scalar BALEEN_THREADS=1
batch() { "$SOURCE/examples/batch" "$@"; }
printf '%s\n' 'What is 1 + 2?' 'What is 3 + 4?' '' '50 - 8' 'Add 6 to 16.' '7+70=' '' >questions.txt
BALEEN="$PROGRAM" batch questions.txt whole.jsonl --parallel 2
# Killed after one more line each time, unless it ends first.
cat >killed <<'SH'
#!/usr/bin/env bash
had=$(cat results.jsonl 2>/dev/null | wc -l)
"$PROGRAM" "$@" <&0 &
until [ "$(cat results.jsonl 2>/dev/null | wc -l)" -gt "$had" ]; do kill -0 $! 2>/dev/null || break; sleep 0.01; done
echo run >>runs
{ kill -9 $!; wait $!; } 2>/dev/null
SH
chmod +x killed
BALEEN=./killed batch questions.txt results.jsonl --parallel 1 2>/dev/null >shown
BALEEN="$PROGRAM" batch questions.txt whole.jsonl --parallel 2 | cmp - shown && echo 'killed: the same'
[ "$(wc -l <runs)" -gt 1 ] && echo 'in several runs'
diff <(jq -c 'del(.timings)' whole.jsonl) <(jq -c 'del(.timings)' results.jsonl) && wc -l <results.jsonl
# A line with an error is shown as one; a run that answers nothing is not repeated for ever.
yes 'and so on' | head -n 400 | tr '\n' ' ' >>questions.txt
BALEEN="$PROGRAM" batch questions.txt longer.jsonl 2>message | cut -f 2
cat message
BALEEN="$PROGRAM" try batch questions.txt nothing.jsonl --temp many
BALEEN="$PROGRAM" try batch nowhere.txt nothing.jsonl
try batch questions.txt

# examples/reward-arithmetic, accuracy and best-of: the bundled model's arithmetic, judged.
export BALEEN="$PROGRAM" BALEEN_ISA=scalar BALEEN_THREADS=1
judge="$SOURCE/examples/reward-arithmetic"
best_of() { "$SOURCE/examples/best-of" "$@"; }
accuracy() { "$SOURCE/examples/accuracy" "$@"; }
reward() { # QUESTION ANSWER REASONING [FORMAT]
  jq -nc --arg question "$1" --arg text "$2" --arg reasoning "$3" '{$text, $reasoning, extra: {$question}}' |
    "$judge" ${4+"$4"}
}
while IFS='|' read -r question answer; do
  echo "$question $answer: $(reward "$question" "$answer" '')"
done <<'QUESTIONS'
What is 347 + 589?|936
What is 347 + 589?|937
12 - 30 =|-18
Subtract 5 from 8.|3
Take 8 from 5.|-3
Compute 12 - 12.|0
How much is 10 plus 090?|100
What is the sum of 0 and 7?|7
I have 3 coins and find 4 more. How many coins do I have?|7
Add 1 to 2.|3 or so
Add 1 to 2.|
QUESTIONS
reward '1 + 2' 3 'thought about' 0.25
reward '1 + 2' 4 'thought about' 0.25
reward '1 + 2' 3 '' 0.25
reward '1 + 2' '' 'thought without end' 0.25
reward '1 + 2' "3'; echo \$(echo 1)
\`echo 1\`" ''
try reward 'Why?' 42 ''
try reward '6 times 7' 42 ''
try reward '' 42 ''
# A batch of questions.
jq -nc '("What is 912 - 905?", "Subtract 12 from 12.", "What is 5 plus 80?", "Why?") |
  {prompt: ., question: ., label: (if test("12") then "difference" else "sum" end),
   n: (if . == "Why?" then 2 else 60 end)}' >lines.jsonl
draw() { baleen run --batch lines.jsonl --samples 3 --temp 1.5 --top-p 1 --seed 3 "$@"; }
draw --reward "$judge" >results.jsonl 2>message
tail -n 1 message
jq -c '[.id, .label, .sample, .text, .reward, .error]' results.jsonl
try accuracy results.jsonl
jq -c 'select(.label == "sum") | del(.label)' results.jsonl | RIGHT=0 accuracy
accuracy </dev/null
# The best of each line, the first of equals.
sed 1d lines.jsonl | best_of 3 "$judge" --temp 1.5 --top-p 1 --seed 3 2>message |
  jq -c '[.id, .sample, .text, .reward, .error]'
tail -n 1 message
echo '{"id": {"any": 1}, "prompt": "5 + 5", "n": 2}' | best_of 2 'echo -3' | jq -c '[.id, .sample, .reward]'
try best_of 0 'echo 1' <lines.jsonl
try best_of 3 <lines.jsonl

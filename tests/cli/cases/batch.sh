# --batch: a JSON line in, a JSON line out, in order; a bad line is an error of its own.
without_times() { jq -c 'del(.timings)'; }
cat >lines.jsonl <<'LINES'
{"id": "first", "prompt": "hello", "n": 4}
{"prompt": "hello there", "temp": 1.5, "seed": 11, "label": "warm", "my": {"own": [1, null]}}

no JSON
{"id": 3, "ids": [3, 4, 5], "greedy": true, "top_k": 1, "n": 2, "logprobs": 1}
{"id": null, "prompt": "x", "ids": [3]}
{"id": "long", "ids": [3, 4, 5, 6, 7, 8, 9, 10], "n": 1}
{"id": "wide", "ids": [123456]}
{"id": "chat", "messages": [{"role": "user", "content": "hi"}]}
{"id": ["any", {"thing": true}], "prompt": "stop at once", "stop": ["e", "a"], "n": 9}
{"id": "options", "prompt": "x", "n": -2}
{"id": "temp", "prompt": "x", "temp": 1, "greedy": true}
LINES
run() { baleen run -m $MODEL --isa scalar --batch lines.jsonl -n 6 --seed 5 "$@"; }
run --ctx 7 | without_times
run --ctx 7 >all 2>message
echo "status $?"
cat message
# Neither how many are decoded together nor the threads make a difference, nor a slow pipe.
without_times <all >expected
for more in '--parallel 1' '--parallel 3 -t 1' '--parallel 40 -t 3'; do
  run --ctx 7 $more 2>message | without_times | cmp - expected && echo "$more: the same"
done
while IFS= read -r line; do echo "$line"; done <lines.jsonl |
  baleen run -m $MODEL --isa scalar --batch - -n 6 --seed 5 --ctx 7 2>message | without_times | cmp - expected && echo 'pipe: the same'
# What a line gives alone.
baleen run -m $MODEL --isa scalar --raw --format jsonl --temp 1.5 --seed 11 -n 6 --ctx 7 'hello there' | jq -c .ids
jq -c 'select(.label == "warm").ids' all
# A result is there as soon as it can be, though more lines may come.
mkfifo pipe
baleen run -m $MODEL --isa scalar --batch pipe -n 2 --greedy >answers &
exec 3>pipe
echo '{"prompt": "one"}' >&3
until grep -q ids answers; do sleep 0.02; done
echo 'the first came'
echo '{"prompt": "two"}' >&3
exec 3>&-
wait
jq -c '[.id, .completion_tokens]' answers
# Templates, and what all lines begin with.
cp -rL $MODEL chat
echo '{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<{{ who }}>' >chat/chat_template.jinja
printf '%s\n' '{"prompt": "hello"}' '{"messages": [{"role": "user", "content": "hello"}]}' \
  '{"messages": [{"role": "system", "content": "own"}, {"role": "user", "content": "hello"}]}' \
  '{"prompt": "hello", "template_vars": {"who": "me"}}' '{"messages": []}' >chats.jsonl
baleen run -m chat --isa scalar --batch chats.jsonl --system 'Be brief.' --template-var 'who="you"' -n 1 --greedy --echo 2>message |
  jq -c '[.text, .error]'
baleen run -m chat --isa scalar --batch chats.jsonl --raw -n 1 --greedy --echo 2>message | jq -c '[.text, .error]'
# Words that do not go together.
try baleen run -m $MODEL --batch lines.jsonl hello
try baleen run -m $MODEL --batch lines.jsonl -f x
try baleen run -m $MODEL --batch lines.jsonl --ids
try baleen run -m $MODEL --batch lines.jsonl --format text
try baleen run -m $MODEL --batch lines.jsonl --dry-run
try baleen run -m $MODEL --batch lines.jsonl --resume
try baleen run -m $MODEL --batch nowhere.jsonl
try baleen run -m $MODEL --parallel 2 hello
try baleen run -m $MODEL --batch lines.jsonl --parallel 0
try baleen run -m $MODEL --batch lines.jsonl -o nowhere/out.jsonl
# An empty batch has no results.
baleen run -m $MODEL --batch /dev/null
echo "status $?"
# The batch is no place for its results.
cp lines.jsonl own.jsonl
try baleen run -m $MODEL --batch own.jsonl -o own.jsonl --force
baleen run -m $MODEL --batch own.jsonl >>own.jsonl
cmp own.jsonl lines.jsonl && echo untouched
try baleen run -m $MODEL --batch - <&-
# Progress ends with the whole.
printf '%s\n' '{"prompt": "a"}' '{"prompt": "b"}' >two.jsonl
baleen run -m $MODEL --isa scalar --batch two.jsonl -n 1 --greedy --progress 2>&1 >/dev/null |
  tail -n 1 | sed -E 's/[0-9.]+ (lines|tokens)\/s/X \1\/s/g'

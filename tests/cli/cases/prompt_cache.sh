# --prompt-cache: the prompt's keys and values in a file; the same tokens with it and without.
document=$(seq 30 89 | tr '\n' ' ')
other=$(seq 300 359 | tr '\n' ' ')
ask() { baleen run -m $MODEL --isa scalar --ids -n 12 "$@"; }
# What -v says of the file, less the time.
told() { ask -v "$@" 2>&1 >/dev/null | sed -n 's/ in [0-9.]* s$//; /^cache/p'; }

echo '# made, used for another question, and not made anew for it'
told --greedy --prompt-cache kv "$document 100 101"
sum=$(cksum <kv)
told --greedy --prompt-cache kv "$document 100 101"
told --greedy --prompt-cache kv "$document 200 201 202"
[ "$sum" = "$(cksum <kv)" ] && echo 'the same file'
ls

echo '# the same output, from no file, a part of one and the whole of one'
for sampling in --greedy '--temp 2 --seed 7'; do
  for type in f32 bf16 int8; do
    for question in '' 40 "200 201 202"; do
      options="$sampling --kv-type $type"
      ask $options "$document $question" >plain
      [ "$(wc -w <plain)" = 12 ] || echo 'not twelve tokens'
      for attempt in 1 2; do
        ask $options --prompt-cache $type "$document $question" | cmp - plain || echo "$options: $question"
      done
    done
    rm $type
  done
done
ask --format jsonl --greedy "$document 40" | jq -c 'del(.timings)' >plain
ask --format jsonl --greedy --prompt-cache kv "$document 40" | jq -c 'del(.timings)' | cmp - plain
ask --greedy --logprobs 3 "$document 40" >plain
ask --greedy --logprobs 3 --prompt-cache kv "$document 40" | cmp - plain

echo '# long prompts: rows that the other prompt computes in another form are computed anew'
long=$(seq 1 380)
first() { head -n "$1" <<<"$long"; }
told --greedy --prompt-cache long "$(first 300)"
for tokens in 301 383 384 390; do
  prompt="$(first 299) $(seq $((699 - tokens)) 399)"
  for isa in scalar auto; do
    ask --isa $isa --greedy --logprobs 3 "$prompt" >plain
    for made in 290 383 384; do
      ask --isa $isa -n 0 --prompt-cache from-$made "$(first $made)"
      ask --isa $isa --greedy --logprobs 3 --prompt-cache from-$made "$prompt" | cmp - plain || echo "$tokens from $made"
      rm from-$made
    done
  done
  told --greedy --prompt-cache long "$prompt"
done
rm long

echo '# less than half of the prompt: made anew'
told --prompt-cache kv "$other"
told --prompt-cache kv "$(seq 300 310) $document"
told --prompt-cache kv "$(seq 300 310) $document"

echo '# -n 0, one token, and a prompt within the prompt'
told --prompt-cache kv -n 0 "$document"
told --prompt-cache kv 30
told --prompt-cache kv '30 31 32'

echo '# what does not fit is refused, and stays'
cp kv before
try ask --prompt-cache kv --kv-type int8 40
try baleen run -m $MODEL --ids --prompt-cache kv 40 2>&1 | sed 's/scalar, expected.*/scalar, expected ANOTHER/'
make_model qwen3_moe qwen
try baleen run -m qwen --isa scalar --ids --prompt-cache kv 40
head -c 5000 before >kv
try ask --prompt-cache kv "$document" | sed 's/: [0-9]* bytes/: N bytes/'
cmp kv <(head -c 5000 before)
echo 'What did it cost?' >kv
try ask --prompt-cache kv "$document"
cat kv
mkdir folder
try ask --prompt-cache folder "$document"
try ask --prompt-cache /dev/null "$document"

echo '# a place that cannot be written is known before anything is computed'
try ask --prompt-cache nowhere/kv "$document"
rm kv
echo '# no room: the output, then the error; the old file stays'
cp before kv
(ulimit -f 1; trap '' XFSZ; try ask --greedy -n 3 --prompt-cache kv "$other")
cmp kv before
(ulimit -f 1; trap '' XFSZ; ask --greedy -n 3 --prompt-cache kv -o answer "$other" 2>/dev/null)
cat answer
ls

echo '# what was saved stays when the generation is interrupted'
rm kv
mkfifo out
env --default-signal=INT "$PROGRAM" run -m $MODEL --isa scalar --greedy --ignore-eos -n -1 --ids --logprobs 512 \
  --prompt-cache kv "$document" >out &
pid=$!
exec 3<out
head -c 1 <&3 >/dev/null
kill -s INT $pid
cat <&3 >/dev/null
exec 3<&-
wait $pid
echo "status $?"
told --prompt-cache kv "$document"

try baleen run -m $MODEL --prompt-cache kv --echo --logprobs 1 hello
try baleen run -m $MODEL --prompt-cache '' hello
try baleen run -m $MODEL --prompt-cache kv --batch lines.jsonl
try baleen run -m $MODEL --prompt-cache kv --format jsonl --samples 2 hello

# SIGINT, SIGTERM and SIGHUP: what was generated is written whole, then the signal has its effect.
# The program waits in a write to the pipe "out" until the signal was sent; then the pipe is read.
interrupt() {
  mkfifo out err
  $default "$PROGRAM" run -m $MODEL --isa scalar --greedy --ignore-eos -n -1 "${@:2}" hello >out 2>err &
  local pid=$!
  exec 3<out 4<err
  head -c 1 <&3 >start
  { kill -s "$1" $pid; cat <&3 >rest; wait $pid; } 2>/dev/null # or bash may say what ended it
  echo "status $?, stderr: $(cat <&4)"
  cat start rest >text
  exec 3<&- 4<&-
  rm out err
}
# A script's background jobs ignore SIGINT otherwise.
default='env --default-signal=INT,TERM,HUP'
for signal in INT TERM HUP; do
  interrupt $signal --logprobs 512
  tail -c 1 text | od -An -c
  [ "$(wc -l <text)" -lt 500 ] && echo 'ended early'
  awk -F '\t' 'NF != 3 + 2 * 512 { bad = 1 } END { print bad ? "a torn line" : "whole lines" }' text
done
# jsonl: the object is still printed. The progress line says that the prompt is done; should the program win
# the race to its end, once more.
mkfifo err
for attempt in 1 2 3 4 5; do
  $default "$PROGRAM" run -m $MODEL --isa scalar --ignore-eos -n -1 --format jsonl --logprobs 512 --progress hello >object 2>err &
  pid=$!
  read -r line <err
  kill -s INT $pid
  wait $pid 2>/dev/null
  status=$?
  [ $status -eq 0 ] || break
done
echo "status $status"
jq -c '[.finish_reason, .completion_tokens < 500, (.logprobs | length) == .completion_tokens]' object
# A pipe that nobody reads yet holds no signal back. The prompt is read last before it is opened.
mkfifo in silent
for signal in INT HUP; do
  $default "$PROGRAM" run -m $MODEL --isa scalar --greedy -n 1 -f in -o silent &
  pid=$!
  echo hello >in
  sleep 0.2
  { kill -s $signal $pid; wait $pid; } 2>/dev/null
  echo "status $?"
done

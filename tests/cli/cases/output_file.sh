# -o: the output in a file, which appears when it is whole.
run() { baleen run -m $MODEL --isa scalar --greedy -n 4 "$@"; }
run hello >shown
run -o text hello
cmp text shown && echo 'as on standard output'
try run -o text hello
run -o text --force -n 2 hello
run -n 2 hello | cmp - text && echo overwritten
run -o ids --ids '3 4 5'
run --ids '3 4 5' | cmp - ids && echo 'ids: the same'
run -o answer.jsonl --format jsonl hello
jq -c '.ids' answer.jsonl
run -o - hello | cmp - shown && echo '-: standard output'
run -o /dev/stdout hello | cmp - shown && echo '/dev/stdout'
try run -o nowhere/text hello
try run -o . hello
try run -o /dev/full hello
try run --force hello
# What is printed at once goes there, too.
run --dry-run -o prompt hello
run --dry-run hello | cmp - prompt && echo '--dry-run: the same'
run --dry-run --format jsonl -o prompt --force hello
jq -c .ids prompt
try run --dry-run -o prompt hello
run --inspect -o model.txt
head -n 1 model.txt
run --inspect --json -o model.txt --force
jq -c .schema model.txt
try run --inspect -o model.txt
try run --inspect -o /dev/full
try run --dry-run -o nowhere/text hello
# Half an answer does not appear. Should the program win the race to its end, once more.
begin() { exec "$PROGRAM" run -m $MODEL --isa scalar -t 1 "$@"; }
for attempt in 1 2 3 4 5; do
  rm -f half
  begin -o half -n -1 --ignore-eos --temp 1 hello &
  until ls .half.* >temporary 2>&1; do kill -0 $! 2>/dev/null || break; done
  kill -TERM $! 2>/dev/null
  wait $!
  status=$?
  [ $status -eq 0 ] || break
done
echo "status $status"
ls -A

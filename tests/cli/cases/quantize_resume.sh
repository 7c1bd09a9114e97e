# OUT.partial: interrupted, gone on with, thrown away, replaced.
# A larger model: layers 1 and 2 of the tiny one again and again, whatever else is in its file under other names.
golden=$GOLDEN/models/deepseek_v3-moonlight
size=$(od -An -t u8 -N 8 $golden/model.safetensors | tr -d ' ')
tail -c +$((9 + size)) $golden/model.safetensors >data
bytes=$(stat -c %s data)
copies=14
mkdir large
head -c $((8 + size)) $golden/model.safetensors | tail -c $size |
  jq -jc --argjson copies $copies --argjson bytes $bytes '
    del(.__metadata__) | to_entries as $all
    | [range($copies) as $k | $all[]
       | .value.data_offsets |= map(. + $k * $bytes)
       | if $k == 0 then .
         elif .key | test("layers\\.[12]\\.") then
           .key |= (capture("(?<a>.*layers\\.)(?<n>[0-9]+)(?<b>\\..*)") | .a + ((.n | tonumber) + 2 * $k | tostring) + .b)
         else .key = "copy.\($k)." + .key end]
    | from_entries' >header
printf "$(printf %016x "$(stat -c %s header)" | sed 's/\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)/\\x\8\\x\7\\x\6\\x\5\\x\4\\x\3\\x\2\\x\1/')" >large/model.safetensors
cat header >>large/model.safetensors
for ((k = 0; k < copies; ++k)); do cat data >>large/model.safetensors; done
jq ".num_hidden_layers = $((1 + 2 * copies))" $golden/config.json >large/config.json
run() { baleen quantize large "$@" --to int4 --isa scalar -t 1; }
begin() { exec env --default-signal=INT,TERM "$PROGRAM" quantize large "$@" --to int4 --isa scalar -t 1; }
same() { diff -r whole "$1" && echo "$1: the same"; }
run whole -q >/dev/null
baleen quantize --check whole -q
journal=killed.partial/baleen-quantize.jsonl
lines() { cat $journal 2>/dev/null | wc -l; } # a run that ends removes it
# Killed ten times at any moment; four times, the first among them, after more of it has reached the disk.
for kill in 1 2 3 4 5 6 7 8 9 10; do
  done=$(lines)
  begin killed --resume >/dev/null 2>&1 &
  case $kill in
  1 | 3 | 6 | 9) until [ "$(lines)" -gt "$((done + 1))" ]; do sleep 0.02; kill -0 $! 2>/dev/null || break; done ;;
  *) sleep 0.$((RANDOM % 10)) ;;
  esac
  { kill -9 $!; wait $!; } 2>/dev/null # or bash may say that it died
  [ $kill = 1 ] && ls -d killed*
done
run killed --resume -q >/dev/null
same killed
ls -d killed*
# Interrupted: what is done is kept, and said.
for signal in INT TERM; do
  begin interrupted >out 2>err &
  until [ -s interrupted.partial/baleen-quantize.jsonl ]; do sleep 0.02; kill -0 $! 2>/dev/null || break; done
  kill -s $signal $!
  wait $!
  echo "status $?"
  cat out err
  ls -d interrupted*
  [ -e interrupted.partial/config.json ] && echo 'looks whole'
  [ $signal = INT ] && rm -r interrupted.partial
done
try run interrupted
try baleen quantize large interrupted --to int4 --isa scalar --resume --scale minmax
try baleen quantize large interrupted --to int8 --isa scalar --resume
try baleen quantize $MODEL interrupted --to int4 --isa scalar --resume
run interrupted --resume -q >/dev/null
same interrupted
# Done already: nothing is written, the report comes all the same.
try run interrupted --resume | head -n 4
run interrupted --resume 2>&1 >/dev/null
run interrupted --resume -v 2>&1 >/dev/null
# Two runs at once; the first stands still while the others are tried.
begin twice >/dev/null 2>&1 &
until [ -s twice.partial/baleen-quantize.jsonl ]; do sleep 0.02; kill -0 $! 2>/dev/null || break; done
kill -STOP $!
try run twice --resume
try run twice --force
kill -CONT $!
wait $!
same twice
# OUT is replaced when the new one is whole, not before.
try run twice
begin twice --force --scale minmax >/dev/null 2>&1 &
until [ -s twice.partial/baleen-quantize.jsonl ]; do sleep 0.02; kill -0 $! 2>/dev/null || break; done
{ kill -9 $!; wait $!; } 2>/dev/null
same twice
baleen quantize $MODEL twice --to int8 --force -q >/dev/null
diff -r whole twice >/dev/null || echo replaced
ls -d twice*
# A kill at the very end.
mkdir left.partial
cp -r killed left
touch left/baleen-quantize.jsonl left.partial/baleen-quantize.jsonl
run left --resume -q >/dev/null
same left
ls -d left*

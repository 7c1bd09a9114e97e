# SIGINT and SIGTERM: the tests that are done are printed, then the signal has its effect.
default='env --default-signal=INT,TERM'  # a script's background jobs ignore SIGINT otherwise
for signal in INT TERM; do
  mkfifo err
  $default "$PROGRAM" bench -m $MODEL -p 1,512 -n 0 -r 500 --csv --progress >out 2>err &
  pid=$!
  exec 4<err
  # Of 1,002 runs the first test makes 501.
  while read -r word runs rest; do
    [ "$word" = bench ] && [ "$runs" -gt 501 ] && break
  done <&4
  kill -s $signal $pid
  cat <&4 >/dev/null
  wait $pid 2>/dev/null
  echo "status $?"
  cut -d, -f 1-4 out
  exec 4<&-
  rm err
done

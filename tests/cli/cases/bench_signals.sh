# SIGINT and SIGTERM: the tests that are done are printed, then the signal has its effect.
default='env --default-signal=INT,TERM'  # a script's background jobs ignore SIGINT otherwise
for signal in INT TERM; do
  mkfifo err
  $default "$PROGRAM" bench -m $MODEL -p 1,8 -n 0 -r 3000 --csv --progress >out 2>err &
  pid=$!
  # The first test is done at 3,001 runs.
  while read -r line; do
    runs=${line#bench }
    [ "${runs%% *}" -le 3001 ] || break
  done <err
  kill -s $signal $pid
  wait $pid 2>/dev/null
  echo "status $?"
  cut -d, -f 1-4 out
  rm err
done

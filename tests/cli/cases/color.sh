# Colour: none in a pipe, by choice, and on a terminal unless NO_COLOR is set.
escape=$(printf '\033')
count() { grep -c "$escape"; }
baleen run -m $MODEL --inspect | count
baleen run -m $MODEL --inspect --color always | count
NO_COLOR=1 baleen run -m $MODEL --inspect --color always | count
baleen run -m nowhere hello --color always 2>&1 | count
baleen run -m nowhere hello 2>&1 | count
command -v script >/dev/null || skip 'no script(1), which gives a terminal'
terminal() { TERM=xterm script -qec "$1" /dev/null </dev/null; }
terminal "$PROGRAM run -m $MODEL --inspect" | count
NO_COLOR=1 terminal "$PROGRAM run -m $MODEL --inspect" | count
terminal "$PROGRAM run -m $MODEL --inspect --color never" | count

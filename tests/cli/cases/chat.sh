# The interactive chat: the driver types, answers and notes go to files.
[ -x "$TERMINAL" ] || skip 'the terminal driver is not built'
command -v jq >/dev/null || skip 'no jq'
CHAT_MODEL=$SOURCE/examples/model
# Types standard input into a chat with these options.
chat() {
  export CHAT_MODEL
  "$TERMINAL" bash -c 'exec "$PROGRAM" run -m "$CHAT_MODEL" -t 1 "$@" >answers 2>notes' - "$@"
}
show() { cat answers; sed 's/^/! /' notes; }
# The answers to the conversation in the file $1, each by a run of its own.
single_runs() {
  for messages in 1 3; do
    jq ".messages[:$messages]" "$1" >part.json
    baleen run -m "$CHAT_MODEL" -t 1 --messages part.json "${@:2}" </dev/null
  done
}

echo '# two turns: what --messages gives for the conversation so far'
for options in --greedy '--temp 0.9 --seed 7' '--think drop --isa scalar' '--think stderr -n 20 --stop 9'; do
  chat -q $options <<'END'
wait >
send What is 347 + 589?\n
wait \n>
send Add 12 and 30.\n
wait \n>
send /save saved.json\n
wait \n>
send \x04
END
  single_runs saved.json $options >expected 2>thoughts
  cmp answers expected && [ -s answers ] && echo "the same with $options"
  diff thoughts notes
  jq -c '[.schema, (.messages[] | .role)]' saved.json
  rm saved.json
done

echo '# every kind of input'
chat --isa scalar --system 'Be exact.' <<'END'
wait >
send What is 1 +\\\n
wait \n.
send  2?\n
wait \n>
send """\n
wait \n.
send /quit\n
wait \n.
send """\n
wait \n>
send //usr\n
wait \n>
send   \n
wait \n>
send caf\xc3\xa9\n
wait \n>
send /save saved.json\n
wait \n>
send /system\n
wait \n>
send /system Be kind.\n
wait \n>
send /system\n
wait \n>
send /reset\n
wait \n>
send /save saved.json\n
wait \n>
send /save! saved2.json\n
wait \n>
send /load nowhere.json\n
wait \n>
send /load saved.json\n
wait \n>
send /save! saved2.json\n
wait \n>
send /sav x\n
wait \n>
send /help\n
wait \n>
send /quit\n
END
show
jq -c '.messages[] | [.role, .content]' saved.json
jq -c '[.messages | length]' saved2.json

echo '# /load answers a last message of the user'
echo '[{"role": "user", "content": "What is 347 + 589?"}]' >begun.json
chat -q --isa scalar --think drop <<'END'
wait >
send /load begun.json\n
wait \n>
send \x04
END
show

echo '# /stats, without its figures'
chat -q --isa scalar <<'END'
wait >
send /stats\n
wait \n>
send What is 347 + 589?\n
wait \n>
send 12 - 30 =\n
wait \n>
send /stats\n
wait \n>
send \x04
END
sed -E 's/[0-9.]+ s,/T s,/g; s/[0-9.]+ tokens\/s/R tokens\/s/g' notes

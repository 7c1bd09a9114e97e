# The interactive chat: what does not fit, models without a template, and options that need a prompt.
[ -x "$TERMINAL" ] || skip 'the terminal driver is not built'
chat() {
  "$TERMINAL" bash -c 'exec "$PROGRAM" run "$@" >answers 2>notes' - "$@"
  cat answers
  sed 's/^/! /' notes
}
echo '# a full context'
chat -m "$SOURCE/examples/model" --isa scalar --ctx 100 <<'END'
wait >
send What is 347 + 589?\n
wait \n>
send This message has more tokens than there are left in the context, whatever it says about anything. This message has more tokens than there are left in the context, whatever it says about anything.\n
wait \n>
send Say something. Something that takes the context to its end: 100 tokens are not many, are they?\n
wait \n>
send /reset\n
wait \n>
send 12 - 30 =\n
wait \n>
send \x04
END
chat -m "$SOURCE/examples/model" --isa scalar --ctx 60 --ignore-eos -n -1 <<'END'
wait >
send What is 347 + 589?\n
wait \n>
send \x04
END
echo '# an answer whose thinking fills the context, which the next prompt does without'
chat -m "$SOURCE/examples/model" --isa scalar --greedy --ctx 40 <<'END'
wait >
send 3 + 4 =\n
wait \n>
send 4 + 4 =\n
wait \n>
send 14 + 4 =\n
wait \n>
send 4 + 4 =\n
wait \n>
send \x04
END
echo '# -n'
chat -m "$SOURCE/examples/model" --isa scalar -n 5 <<'END'
wait >
send What is 347 + 589?\n
wait \n>
send \x04
END
echo '# no template: every message alone'
for option in --greedy --raw; do
  chat -m $MODEL --isa scalar --greedy -n 3 $option <<'END'
wait >
send hello\n
wait \n>
send hello\n
wait \n>
send /system Be brief.\n
wait \n>
send /save x.json\n
wait \n>
send /load x.json\n
wait \n>
send /reset\n
wait \n>
send \x04
END
done
baleen run -m $MODEL --isa scalar --greedy -n 3 hello
echo '# a template that refuses'
mkdir strict
ln -s "$PWD"/$MODEL/* strict/
echo "{% if messages|length > 1 %}{{ raise_exception('one message, no more') }}{% endif %}{{ messages[0].content }}" \
  >strict/chat_template.jinja
chat -m strict --isa scalar --greedy -n 3 <<'END'
wait >
send hello\n
wait \n>
send and more\n
wait \n>
send /reset\n
wait \n>
send hello\n
wait \n>
send \x04
END
echo '# a route log that cannot grow any more'
(ulimit -f 20; trap '' XFSZ; chat -m "$SOURCE/examples/model" --isa scalar --greedy --think drop --route-log routes <<'END'
wait >
send 12 - 30 =\n
wait \n>
send What is 347 + 589?\n
wait \n>
send 12 - 30 =\n
wait \n>
send \x04
END
)
echo '# options that need a prompt'
for option in --ids --dry-run --echo '--logprobs 1' '--format jsonl' '-n 0' '-o x' '--samples 2' '--system x' '--template-var x=1'; do
  chat -m $MODEL $option </dev/null
done
echo '# --messages with its output in a file is no chat'
echo '[{"role": "user", "content": "What is 347 + 589?"}]' >begun.json
chat -m "$SOURCE/examples/model" --isa scalar --think drop --messages begun.json </dev/null

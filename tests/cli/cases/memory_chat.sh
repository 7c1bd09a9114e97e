# --memory, --route-prior and --route-stats in a chat: the answers are those of a chat without them.
[ -x "$TERMINAL" ] || skip 'the terminal driver is not built'
chat() {
  "$TERMINAL" bash -c 'exec "$PROGRAM" run -m "$SOURCE/examples/model" --isa scalar --greedy "$@" >answers 2>notes' - "$@" <<'END'
wait >
send What is 347 + 589?\n
wait \n>
send 12 - 30 =\n
wait \n>
send \x04
END
}
chat -q --route-stats stats
cat answers notes
mv answers plain
jq -c '[.prompt_tokens > 0, .generated_tokens > 0, (.layers | length)]' stats
chat --memory 4M --route-prior stats -v
cmp answers plain && echo same
grep '^memory\|^experts' notes | sed -E 's/; .*//; s/[0-9.]+ %/N %/g'

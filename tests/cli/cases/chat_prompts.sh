# The prompts are those of transformers' apply_chat_template, to the token; see golden/make_chat_prompts.py.
mkdir chat
ln -s "$GOLDEN"/tiny-tokenizer/*.json chat/
while IFS= read -r row; do
  # One jq for all fields of a row: it takes longer to start than baleen does to answer.
  eval "set -- $(jq -r '[.template, (.messages | tojson), (if has("system") then "--system", .system else empty end),
    (.vars // {} | to_entries[] | "--template-var", "\(.key)=\(.value | tojson)"),
    (if has("prompt") then .prompt else empty end)] | @sh' <<<"$row")"
  cp "$GOLDEN/chat/templates/$1" chat/chat_template.jinja
  options=(--format jsonl --dry-run -m chat)
  if [ "$2" != null ]; then
    printf '%s\n' "$2" >messages.json
    options+=(--messages messages.json)
  fi
  shift 2
  if baleen run "${options[@]}" "$@" >object 2>message; then
    jq -e --argjson row "$row" '.prompt == $row.text and .ids == $row.ids' object >/dev/null && echo same && continue
  elif [[ $row == *'"error":'* ]]; then
    echo 'an error, as it should' && continue
  fi
  echo "DIFFERENT: $row"
  cat object message
done <"$GOLDEN/chat/prompts.jsonl" | sort | uniq -c

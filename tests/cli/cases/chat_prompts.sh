# The prompts are those of transformers' apply_chat_template, to the token; see golden/make_chat_prompts.py.
mkdir chat
ln -s "$GOLDEN"/tiny-tokenizer/*.json chat/
while IFS= read -r row; do
  field() { jq -r "$1" <<<"$row"; }
  cp "$GOLDEN/chat/templates/$(field .template)" chat/chat_template.jinja
  options=(--format jsonl --dry-run -m chat)
  if [ "$(field 'has("messages")')" = true ]; then
    field .messages >messages.json
    options+=(--messages messages.json)
  fi
  [ "$(field 'has("system")')" = false ] || options+=(--system "$(field .system)")
  while IFS= read -r var; do options+=(--template-var "$var"); done < <(
    field '.vars // {} | to_entries[] | "\(.key)=\(.value | tojson)"')
  [ "$(field 'has("prompt")')" = false ] || options+=("$(field .prompt)")
  if baleen run "${options[@]}" >object 2>message; then
    jq -e --argjson row "$row" '.prompt == $row.text and .ids == $row.ids' object >/dev/null && echo same && continue
  elif [ "$(field 'has("error")')" = true ]; then
    echo 'an error, as it should' && continue
  fi
  echo "DIFFERENT: $row"
  cat object message
done <"$GOLDEN/chat/prompts.jsonl" | sort | uniq -c

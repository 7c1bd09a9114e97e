# --messages, --system and --template-var, and what is wrong with them.
mkdir chat
ln -s "$GOLDEN"/tiny-tokenizer/*.json chat/
cp "$GOLDEN/chat/templates/thinking.jinja" chat/chat_template.jinja
dry() { baleen run -m chat --dry-run "$@"; }
user='{"role": "user", "content": "Hi"}'
system='{"role": "system", "content": "Be brief."}'
given() { printf '%s' "$1" >m.json; shift; try dry --messages m.json "$@"; }
given "[$user]"
given "[$user]" 'and then?'
given "[$system, $user]"
printf '[%s]' "$user" | try dry --messages -
printf 'and then?' | try dry --messages m.json -f -
given "{\"messages\": [$user], \"template_vars\": {\"enable_thinking\": false}}"
try dry --messages m.json --template-var enable_thinking=true
given "[$user, {\"role\": \"assistant\", \"content\": \"<think>so\"}]"
echo '# what is wrong'
given "[$system, $user]" --system 'Be long.'
given '[]'
given ''
given "[$user"
given '"Hi"'
given '{"message": []}'
given '{"messages": {}}'
given '{"messages": [], "model": "x"}'
given '{"messages": ["Hi"]}'
given '{"messages": [{"content": "Hi"}]}'
given '[{"role": "user", "content": 123456789012345678901}]'
given '[{"role": "user", "content": 18446744073709551615}]'
given "{\"messages\": [$user], \"tools\": {}}"
given "{\"messages\": [$user], \"documents\": [1]}"
given "{\"messages\": [$user], \"template_vars\": []}"
given "{\"messages\": [$user], \"template_vars\": {\"tools\": []}}"
given "[$user, {\"role\": \"assistant\", \"tool_calls\": []}]"
head -c 1000000 /dev/zero | tr '\0' '[' >m.json
try dry --messages m.json
try dry --messages nowhere.json
try dry --messages .
head -c 70000000 /dev/zero | tr '\0' ' ' | try dry --messages -
printf '["\xff"]' >m.json
try dry --messages m.json
try dry --messages - -f - </dev/null
try dry --template-var enable_thinking=flase hello
try dry --template-var enable_thinking hello
try dry --template-var =1 hello
try dry --template-var messages='[]' hello
try dry --system "$(printf 'a\xff')" hello
try dry --system 'Be brief.' --raw hello
try dry --messages m.json --ids '3 4'
try baleen run -m $MODEL --system 'Be brief.' hello
try baleen run -m $MODEL --template-var x=1 hello

# The prompt becomes a user's message in the form of the model's chat template, unless --raw or --ids is given.
cp -rL $MODEL chat
cp "$GOLDEN/chat/templates/thinking.jinja" chat/chat_template.jinja
echo 'from a file' >prompt.txt
dry() { baleen run -m chat --dry-run "$@"; }
try dry hello
try dry -f prompt.txt
try dry -f prompt.txt 'and more'
printf 'piped\n\n' | try dry
try dry --raw hello
try dry --ids '3 4 5'
try dry --format jsonl --system 'Be brief.' --template-var enable_thinking=false hello
try baleen run -m chat --isa scalar --greedy -n 3 --ids '3 4 5'
try baleen run -m chat --isa scalar --greedy -n 4 hello
try baleen run -m chat --isa scalar --greedy -n 4 --echo hello
# The same tokens as written by hand.
by_hand=$(dry hello; echo x)
[ "$(baleen run -m chat --isa scalar --greedy -n 9 hello)" = \
  "$(baleen run -m chat --isa scalar --greedy -n 9 --raw "${by_hand%?x}")" ] && echo 'by hand: the same'
# Which template it was.
baleen run -m chat --isa scalar --greedy -n 1 -v hello 2>&1 >text | grep '^template'
# A template in tokenizer_config.json, and one for conversations with tools.
rm chat/chat_template.jinja
jq '.chat_template = [{name: "default", template: "one {{ messages[0].content }}"},
  {name: "tool_use", template: "tools {{ tools | tojson }}"}]' $MODEL/tokenizer_config.json >chat/tokenizer_config.json
try dry hello
echo '{"messages": [], "tools": [{"name": "f"}]}' >tools.json
try dry --messages tools.json hello
# What a template says by itself.
echo '{{ raise_exception("Only users may speak") }}' >chat/chat_template.jinja
try dry hello
printf '{{ raise_exception("red: \033[31m, then\\nlines\\nand\\nlines") }}' >chat/chat_template.jinja
try dry hello
echo '{% if %}' >chat/chat_template.jinja
try dry hello
try dry --raw hello
try baleen run -m chat --isa scalar --greedy -n 3 --ids '3 4 5'

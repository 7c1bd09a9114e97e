# A model with a chat template needs --raw or --ids in this version.
cp -rL $MODEL chat
echo '{{ messages }}' >chat/chat_template.jinja
try baleen run -m chat hello
try baleen run -m chat --dry-run hello
try baleen run -m chat --dry-run --raw hello
try baleen run -m chat --isa scalar --greedy -n 3 --ids '3 4 5'

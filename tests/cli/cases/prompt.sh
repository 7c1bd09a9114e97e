# Where the prompt comes from, and what is kept of it: --dry-run shows it.
dry() { baleen run -m $MODEL --dry-run --format jsonl "$@"; }
echo 'from a file' >prompt.txt
try dry 'an argument'
try dry -f prompt.txt
try dry -f prompt.txt 'and more'
try dry -f prompt.txt --raw
try dry -f - <prompt.txt
try dry <prompt.txt
try dry -f - 'and more' <prompt.txt
printf 'dos\r\n' | try dry
printf 'two\n\n' | try dry
try dry ''
try dry '[a, b]'
try dry -- -x
try dry -
try dry '日本 é 👍'
try dry '<|begin|>special<|end|>'
try dry --ids '3 4  5
6'
try baleen run -m $MODEL --dry-run 'as text'
try baleen run -m $MODEL --dry-run --ids '40 41 42'
printf 'a\xff' | try dry
printf 'good\xff' >bad.txt
try dry -f bad.txt 'and more'
try dry -f prompt.txt "$(printf 'a\xff')"
try dry -f nowhere.txt
try dry -f .
try dry --ids '3 four 5'
try dry --ids '3 4.5'
try dry --ids '3 99999999999999999999'
try dry --ids '3 512'
# A folder with just a tokenizer will do.
mkdir tokenizer && cp -L $MODEL/tokenizer*.json tokenizer
try baleen run -m tokenizer --dry-run hello

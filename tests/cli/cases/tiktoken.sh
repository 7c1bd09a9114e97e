# A tiktoken.model in place of tokenizer.json.
cp -rL $MODEL rank
rm rank/tokenizer.json rank/tokenizer_config.json
cp $GOLDEN/tokenizers-small/tiktoken/* rank/
try baleen run -m rank --dry-run --format jsonl "don't 你好 [EOS]"
try baleen run -m rank --inspect --json >inspected
grep -c '"deepseek_v3"' inspected
sed -i 's/TikTokenTokenizer"/QWenTokenizer"/' rank/tokenizer_config.json
try baleen run -m rank --dry-run hello
rm rank/tokenizer_config.json
try baleen run -m rank hello
cp $GOLDEN/tokenizers-small/tiktoken/tokenizer_config.json rank/
sed -i '3s/.*/?/' rank/tiktoken.model
try baleen run -m rank hello
cp $MODEL/tokenizer.json rank/
try baleen run -m rank --dry-run --format jsonl hello

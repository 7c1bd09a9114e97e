# Models that cannot be read.
try baleen run -m nowhere hello
try baleen run -m deepseek-ai/DeepSeek-V3 hello
try baleen run -m ./DeepSeek-V3 hello
touch file
try baleen run -m file hello
mkdir empty
try baleen run -m empty hello
try baleen run -m empty --inspect
try baleen run -m empty --dry-run hello
try baleen route-stats -m empty -f file
printf 'a\xff' >text
try baleen route-stats -m $MODEL -f text
cp -rL $MODEL broken
head -c 100000 $MODEL/model.safetensors >broken/model.safetensors
try baleen run -m broken hello
rm broken/tokenizer.json
try baleen run -m broken hello

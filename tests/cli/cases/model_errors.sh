# Models that cannot be read.
try baleen run -m nowhere hello
touch file
try baleen run -m file hello
mkdir empty
try baleen run -m empty hello
try baleen run -m empty --inspect
cp -rL $MODEL broken
head -c 100000 $MODEL/model.safetensors >broken/model.safetensors
try baleen run -m broken hello
rm broken/tokenizer.json
try baleen run -m broken hello

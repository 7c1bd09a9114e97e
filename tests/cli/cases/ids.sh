# Token ids in and out, against what transformers computed; the same for any number of threads.
prompt='129 383 266 22 250 265 100 241 388 329 34 109 484 67 20 379 204 371 318 198 392 145 225 54 172 79
440 229 45 380 491 241 339 54 413 434 230 320 51 360'
for threads in 1 2 3; do
  try baleen run -m $MODEL --isa scalar -t $threads --greedy --ignore-eos -n 24 --ids "$prompt"
done
echo "$prompt" | tr ' ' '\n' >ids.txt
try baleen run -m $MODEL --isa scalar --greedy -n 4 --ids -f ids.txt
try baleen run -m $MODEL --isa scalar --greedy -n 4 --ids --echo '40 41 42'
try baleen run -m $MODEL --isa scalar --greedy -n 0 --ids --echo '40 41 42'
try baleen run -m $MODEL --isa scalar --greedy -n 0 --ids '40 41 42'
try baleen run -m $MODEL --ids '1 2 512'
try baleen run -m $MODEL --ids -- '-1 2'
try baleen run -m $MODEL --ids ''
try baleen run -m $MODEL ''
# A folder without a tokenizer is enough.
mkdir bare && cp -L $MODEL/config.json $MODEL/model.safetensors bare
try baleen run -m bare --isa scalar --greedy -n 4 --ids '40 41 42'

# --think-budget: the bundled model thinks only so long, then answers.
bundled="$SOURCE/examples/model"
ask() { baleen run --isa scalar --greedy "$@"; }
export BALEEN_MODEL=$bundled
try ask --think-budget 1000 'What is 12 + 9?'
try ask --think-budget 12 'What is 12 + 9?'
try ask --think-budget 1 'What is 12 + 9?'
try ask --think-budget 0 'What is 12 + 9?'
try ask --think-budget 12 --think drop 'What is 12 + 9?'
try ask --think-budget 12 --think stderr 'What is 12 + 9?'
echo '# in the other formats: </think> is token 2047'
ask --think-budget 12 --format jsonl 'What is 12 + 9?' |
  jq -c '[.text, .reasoning, .ids, .completion_tokens, .finish_reason]'
prompt=$(baleen run --dry-run --format jsonl 'What is 12 + 9?' | jq -r '.ids | join(" ")')
try ask --think-budget 12 --ids "$prompt"
ask --think-budget 3 -n 5 --logprobs 0 'What is 12 + 9?' | cut -f 1,2
echo '# it counts for -n, and a stop string may be what is written'
try ask --think-budget 12 -n 13 --ids "$prompt"
try ask --think-budget 12 -n 14 --ids "$prompt"
try ask --think-budget 12 --stop '</think>' 'What is 12 + 9?'
echo '# a prompt that opens <think>'
try ask --raw --think-budget 0 --think stderr '<|begin|><|user|>What is 12 + 9?<|assistant|><think>'
try ask --raw --think-budget 4 --think stderr '<|begin|><|user|>What is 12 + 9?<|assistant|><think>'
echo '# no thinking, no </think>'
try ask --raw --think-budget 0 -n 8 'Once upon'
echo '# what cannot be'
try ask --think-budget -1 'What is 12 + 9?'
try ask --think-budget few 'What is 12 + 9?'
mkdir no-tokenizer
ln -s "$bundled"/{config,generation_config}.json "$bundled"/model.safetensors no-tokenizer/
try ask -m no-tokenizer --think-budget 1 --ids '3 4 5'

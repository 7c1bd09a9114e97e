# --think: the bundled model's answers, which begin with thinking.
bundled="$SOURCE/examples/model"
ask() { baleen run --isa scalar --greedy "$@"; }
export BALEEN_MODEL=$bundled
try ask 'What is 12 + 9?'
try ask --think keep 'What is 12 + 9?'
try ask --think drop 'What is 12 + 9?'
try ask --think stderr 'What is 12 + 9?'
try ask --think drop --echo 'What is 12 + 9?'
echo '# thinking that is never closed, in part or not at all'
try ask --think drop -n 6 'What is 12 + 9?'
try ask --think stderr -n 6 'What is 12 + 9?'
try ask --think drop -n 0 'What is 12 + 9?'
echo '# a stop string in the thinking, its end, and in the answer'
try ask --think stderr --stop 'carry' 'What is 12 + 9?'
try ask --think drop --stop '</think>' 'What is 12 + 9?'
try ask --think stderr --stop '</think>' 'What is 12 + 9?'
try ask --think stderr --stop '1 carry 0' --stop '21' 'What is 12 + 9?'
echo '# a template that opens <think> itself'
mkdir opened
ln -s "$bundled"/{config,generation_config,tokenizer,tokenizer_config}.json "$bundled"/model.safetensors opened/
sed 's/{{ .<|assistant|>. }}/{{ "<|assistant|><think>\\n" }}/' "$bundled/chat_template.jinja" \
  >opened/chat_template.jinja
export BALEEN_MODEL=opened
try ask 'What is 12 + 9?'
try ask --think drop 'What is 12 + 9?'
try ask --think stderr 'What is 12 + 9?'
ask --think drop --format jsonl 'What is 12 + 9?' | jq -c '[.text, .reasoning]'
echo '# an answer begun for the model'
echo '[{"role": "user", "content": "What is 12 + 9?"},
  {"role": "assistant", "content": "<think>\n2+9=11 write"}]' >m.json
sed -i "s/(message\['content'\].split('<.think>')\[-1\] | trim)/message['content']/" opened/chat_template.jinja
try ask --dry-run --messages m.json
try ask --think drop --messages m.json
try ask --think stderr --messages m.json
ask --format jsonl --messages m.json | jq -c '[.text, .reasoning]'
echo '# tokens are printed whole'
try ask --think drop --ids '3 4 5'
try ask --think stderr --logprobs 1 'What is 12 + 9?'
try ask --think never 'What is 12 + 9?'

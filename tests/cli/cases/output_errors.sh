# A closed reader ends it quietly, a failed write is an error.
many='--isa scalar --greedy --ignore-eos -n 400 --logprobs 400'
baleen run -m $MODEL $many hello 2>stderr | head -n 1 | cut -c 1-5 >line
echo "status ${PIPESTATUS[0]}, $(wc -l <line) line, stderr: $(cat stderr)"
# Where SIGPIPE is ignored, writing fails instead; the end is the same.
(trap '' PIPE; baleen run -m $MODEL $many hello 2>stderr; echo $? >status) | head -n 1 >/dev/null
echo "status $(cat status), stderr: $(cat stderr)"
[ -e /dev/full ] || skip 'no /dev/full'
full() { "$@" >/dev/full; }
try full baleen run -m $MODEL --isa scalar -n 3 hello
try full baleen run -m $MODEL --isa scalar -n 3 --format jsonl hello
try full baleen run -m $MODEL --dry-run hello
try full baleen run -m $MODEL --inspect
try full baleen run --help
try full baleen --version
closed() { "$@" >&-; }
try closed baleen run -m $MODEL --isa scalar -n 3 hello
# A file that is opened does not take the place of a closed stream: nothing that is printed gets into it.
try closed baleen run -m $MODEL --isa scalar -n 3 --route-log routes hello
echo '{"prompt": "hello"}' >batch.jsonl
try closed baleen run -m $MODEL --isa scalar -n 3 --batch batch.jsonl
baleen run -m $MODEL --isa scalar -n 3 -v --route-log logged hello 2>&- >stdout
grep -c -v '^{' logged

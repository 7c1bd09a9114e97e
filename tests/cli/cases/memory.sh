# --memory: the same answers within any budget, what is refused, what -v and --inspect tell.
export BALEEN_MODEL=$MODEL BALEEN_ISA=scalar
run() { baleen run --greedy --ids -n 12 "$@" '10 11 12 13 14'; }
run >plain
least=$(baleen run --inspect --json --memory 1G | jq .memory.budget.least_bytes)
for size in $least $((least + 20000)) $((least + 60000)) 1G auto; do
  run --memory $size | cmp - plain && echo same
done
BALEEN_MEMORY=$least run | cmp - plain && echo same
run --memory $least --lm-head int8 >rounded
run --lm-head int8 | cmp - rounded && echo same
run --memory $least --prompt-cache saved >first
run --memory $least --prompt-cache saved >second
cmp first plain && cmp second plain && echo same
# What is refused; the least that an error names does work.
try run --memory 1K
named=$(run --memory 1K 2>&1 | sed -n 's/.*; \([^ ]*\) is the least that works/\1/p')
run --memory $named | cmp - plain && echo same
try run --memory $((least - 1)) 2>&1 | sed -E 's/--memory [^:]*/--memory .../'
try run --memory much
BALEEN_MEMORY=much try run
try baleen run --inspect --memory 1K
try baleen bench --shape olmoe --memory 1G
# -v says what became of it.
run --memory $least -v 2>&1 | grep '^memory\|^experts' |
  sed -E -e 's/[0-9.]+ %/N %/g' -e 's/[0-9.]+ [KM]iB a token/N a token/' -e 's/[0-9.]+ GB/N GB/' \
    -e 's/ by .* the page cache/ .../'
run --memory 1G -v 2>&1 | grep '^memory\|^experts'
baleen run -m $SOURCE/examples/model --memory 4M --progress -n 1 hello 2>&1 | grep '^load' | sed 's/, .*//'
# --inspect shows the plan.
baleen run --inspect --memory $least | sed -n '/^--memory/p'
baleen run --inspect --memory 1G | sed -n '/^--memory/p'
baleen run --inspect --json --memory $((least + 20000)) | jq -c .memory.budget
# Many answers.
jq -nc 'range(5) | {ids: [10, 11 + ., 12], n: 6}' >batch
answers() { baleen run --batch batch --greedy "$@" | jq -c 'del(.timings)'; }
answers >lines
answers --memory $least --parallel 3 | cmp - lines && echo 'same lines'
answers --memory auto | cmp - lines && echo 'same lines'
# Divergence from another model, both within the budget.
make_model deepseek_v3-int4 other
printf 'some text to be predicted, token by token' >text
bench() { baleen bench --kl other --ppl text --json "$@" | jq -c '[.perplexity, .kl_nats.all.mean]'; }
bench >quality
bench --memory $((2 * least)) | cmp - quality && echo 'same quality'
try baleen bench --kl other --ppl text --memory $least 2>&1 | sed -E 's/[0-9.]+ [KM]iB/N/g'

# Outputs that would be written to one file, or over an input: told before there is any work.
export BALEEN_MODEL=$MODEL BALEEN_ISA=scalar
run() { baleen run -n 2 "$@"; }
try run -o same --route-log same hello
try run -o same --route-stats same --force hello
try run -o same --prompt-cache ./same hello
try run --route-stats "$PWD/same" --prompt-cache same hello
try run --route-log folder/../same --route-stats same hello
ln -s same link
try run -o link --route-log same hello
ls same 2>&1
echo hello >same
ln same hard
try run --route-log link --route-stats hard --force hello
try run -o hard --force -f same
try run --prompt-cache same -f same
try run -o same --force --messages link
try run -o same --force --route-prior hard --memory 1G hello
echo '{"prompt": "hello"}' >batch
try run --batch batch -o batch --force
try run --batch batch -o answers --route-log answers --resume
try run --batch batch --route-log batch
run --batch batch >>batch
echo "status $?"
run --batch - -o batch --force <batch
echo "status $?"
cat batch same
run --route-log log hello >>log
echo "status $?"
try run -o - --route-log - hello
# What is read to its end before, and what is no file, may have two names.
run --greedy -f same >>same && sed 1q same
run -o /dev/null --route-log /dev/null --route-stats /dev/null hello
rm log
run --route-log log --route-stats stats hello >answer
least=$(baleen run --inspect --json --memory 1G | jq .memory.budget.least_bytes)
run --route-prior log --route-log log --memory $least hello >answer
run --route-prior stats --route-stats stats --force --memory $least hello >answer
baleen route-stats --json log | jq .tokens
# route-stats.
try baleen route-stats log --svg log --force
ln log other
try baleen route-stats --compare other answer --svg log --force
try baleen route-stats -f same --svg hard --force
baleen route-stats log --svg - | head -c 4

# examples/classify: what the bundled model's dictionary takes words for.
export BALEEN="$PROGRAM" BALEEN_ISA=scalar BALEEN_THREADS=1
classify() { "$SOURCE/examples/classify" "$@"; }
printf '%s\n' lighthouse quickly 'make haste' 'a "quoted" \ word' >words
try classify <words
try classify noun verb adjective adverb <words
# The shares are those of the labels' probabilities: of one label it is all, of an absurd one nearly nothing.
try classify verb <words
try classify noun 'unlikely enough' <words
# Any question with any end.
printf '%s\n' 'Genesis 1' 'Psalms 23' | TEMPLATE='{}:1 And {}:2 And the LORD' END=' unto' classify
printf 'no newline' | classify noun verb
printf '%s\n' "$(yes long | head -n 600 | tr '\n' ' ')" hello >words
try classify noun verb <words | sed 's/\(long \)*//'
try classify noun </dev/null

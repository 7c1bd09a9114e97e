# Logs that are wrong, and questions that do not fit together.
export BALEEN_MODEL=$MODEL BALEEN_ISA=scalar
baleen run --ids --greedy -n 2 --route-log log '10 11 12' >/dev/null
try baleen route-stats
try baleen route-stats none
try baleen route-stats -f text log
try baleen route-stats --json --csv log
try baleen route-stats --layer 7 log
try baleen route-stats --plan log
try baleen route-stats --gpus 2 log
try baleen route-stats --plan --replicas 9 --gpus 2 log
try baleen route-stats --by colour log
try baleen route-stats - - <log
try baleen route-stats --svg - --json log
try baleen route-stats --simulate-bias log log
echo '{"layers":[]}' >biases
try baleen route-stats --simulate-bias biases log
# A line that was cut off is left out and said; a wrong one is an error, or counted.
(cat log; head -c 40 log) >cut
try baleen route-stats --csv cut | tail -n 1
(sed 2q log; echo '{"r":0,"n":0'; sed 1,2d log) >wrong
try baleen route-stats wrong
baleen route-stats --keep-going --json wrong | jq -c '[.tokens, .lines_left_out]'
# Another model is refused by name.
make_model mixtral other
baleen run -m other --ids --greedy -n 2 --route-log log2 '10 11 12' >/dev/null
try baleen route-stats log log2
try baleen route-stats --compare log2 log
sed 1q log >empty
try baleen route-stats empty
baleen run --ids --greedy -n 2 --route-log counts --route-log-detail counts '10 11 12' >/dev/null
try baleen route-stats --stability counts
echo '{"layer":1,"load":[1,2,3],"tokens":5,"top_k":2}' >loads
try baleen route-stats loads
head -c 100000 /dev/zero | try baleen route-stats -
baleen route-stats log >/dev/full
echo "status $?"

# The output head rounded at load: -v says what it takes and how far off it is.
for type in stored int8; do
  echo "# $type"
  baleen run -m $MODEL --isa scalar --lm-head $type --greedy -n 4 -v --ids '40 41 42' 2>&1 | grep -v '^time\|^model\|^kernels\|^KV\|^sampling'
done
try baleen run --lm-head int4 hello

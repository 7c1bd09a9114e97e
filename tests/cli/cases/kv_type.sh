# KV cache storage: f32 unless told otherwise.
for type in f32 bf16 int8; do
  baleen run -m $MODEL --isa scalar --kv-type $type --greedy -n 4 -v --ids '40 41 42' 2>&1 >/dev/null | grep '^KV'
done
baleen run -m $MODEL --isa scalar --greedy -n 4 -v --ids '40 41 42' 2>&1 >/dev/null | grep '^KV'
baleen run -m $MODEL --greedy -n 4 -v --ids '40 41 42' 2>&1 >/dev/null | grep '^KV'

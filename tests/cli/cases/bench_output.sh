# What is printed, less what depends on the machine.
export BALEEN_MODEL=$MODEL
small='-q -p 4,8 -n 2 -d 0,4 -b 1,2 -r 3'
one='-q -p 4 -n 0 -r 1'  # the limits are measured around every test, which takes the time
baleen bench $small | grep -oE '^(model|machine|kernels|read|compute|prefill [0-9]+|decode [^ ]+ depth [^ ]+ batch [0-9])'
baleen bench $small --isa scalar --kv-type int8 --json >object
jq -c 'keys, .schema, .isa, .kv_type, .architecture, .parameters, .active_parameters, .weight_bytes, .extrapolated, .warm_up.bytes' object
jq -c '.tests[0] | keys' object
jq -c '.tests[] | [.test, .tokens, .depth, .batch, .passes, (.seconds | length), .unique_experts_per_layer, .weight_bytes_per_pass, .kv_bytes_per_pass, .operations_per_pass]' object
jq '[.tests[] | .roofline_seconds / .seconds_median - .roofline_share | fabs] | max < 1e-9' object
jq '.read_bytes_per_second.median as $read | .operations_per_second.median as $compute
  | [.tests[] | .passes * ([(.weight_bytes_per_pass + .kv_bytes_per_pass) / $read, .operations_per_pass / $compute] | max) / .roofline_seconds - 1 | fabs] | max < 1e-9' object
baleen bench $one --csv >lines
sed 1q lines
sed 1d lines | cut -d, -f 1-4
# Counts are whole numbers, in both.
awk -F, 'NR == 1 { for (i = 1; i <= NF; ++i) at[$i] = i; next } { print $at["weight_bytes_per_pass"], $at["kv_bytes_per_pass"], $at["operations_per_pass"] }' lines
grep -m 3 -E '"(weight_bytes|kv_bytes|operations)_per_pass"' object
baleen bench $one --markdown | grep -E '^(\| test|\|--|- command)' | sed -e 's/(baleen .*)/(baleen ...)/'
# The model's context is short: default sizes that do not fit it are left out.
jq .max_position_embeddings model/config.json
baleen bench -q -r 1 --json | jq -c '[.tests[] | [.test, .tokens, .depth, .batch]]'
# A shape of which not all layers are measured.
baleen bench -q --shape olmoe --weights int4 --layers 1 -p 2 -n 0 -r 1 --json |
  jq -c '.model, .weights, .extrapolated, .parameters, .tests[0].unique_experts_per_layer > 8'
cat >tiny.json <<'END'
{"model_type": "qwen3_moe", "vocab_size": 64, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
 "num_key_value_heads": 1, "head_dim": 32, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
 "intermediate_size": 64, "max_position_embeddings": 64}
END
for format in bf16 fp8 int8 int4 mxfp4; do
  baleen bench -q --shape tiny.json --weights $format -p 8 -n 0 -r 1 --json | jq -c '[.weights, .weight_bytes, .extrapolated]'
done
# -v says what was read; progress goes where it is asked for.
baleen bench $one -v 2>&1 >/dev/null | sed -e 's/in .*/in .../'
baleen bench -p 4 -n 0 -r 2 --progress 2>&1 >/dev/null | grep -o '^bench 3 of 3 runs'
baleen bench $one 2>&1 >/dev/full
echo "status $?"

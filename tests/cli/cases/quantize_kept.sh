# What is not quantized, and what becomes of it then: bf16 stays, fp8 cannot stand beside int4.
make_model deepseek_v3-fp8 fp8
notes() { baleen quantize "$@" --dry-run --isa scalar >/dev/null; }
try notes $MODEL --to int4 --group 128
try notes fp8 --to int4 --group 48
try notes fp8 --to int4 --group 64
try notes fp8 --to int4 --only 'layers\.1\.'
try notes fp8 --bits experts=int4
try notes fp8 --to int8 --keep kv_b_proj
# fp8 beside fp8 and int8 beside int4 stay what they are.
make_model deepseek_v3-int8 int8
try baleen quantize fp8 --to fp8 --dry-run
try notes int8 --bits experts=int4
# A layer of multi-token prediction, behind the model's last one, is a layer of --bits too.
baleen quantize "$SOURCE/examples/model" --bits all=int4,all@5=keep --dry-run --json -q |
  jq -c '.layers[] | [.layer, (.kinds["routed experts"].matrices // {} | keys)]'
try baleen quantize "$SOURCE/examples/model" --bits all=int4,all@6=keep --dry-run 2>&1 | tail -n 2

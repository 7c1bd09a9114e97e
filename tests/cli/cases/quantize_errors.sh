# What cannot be done is said at once, and nothing is touched.
quantize() { baleen quantize "$@"; }
before() { ls -R | sort >../before; }
unchanged() { ls -R | sort | cmp - ../before && echo 'nothing was written'; }
mkdir here && cd here
make_model deepseek_v3-moonlight model
before
try quantize
try quantize model
try quantize model --to int8
try quantize model out
try quantize model out --to int5
try quantize model out more --to int8
try quantize none out --to int8
try quantize model/config.json out --to int8
try quantize model '' --to int8
try quantize model out --to int8 --dry-run --resume
try quantize model out --to fp8 --group 64
try quantize model out --to int8 --group 0
try quantize model out --to int8 --group 48
try quantize model out --to int8 --keep '('
try quantize model out --to int8 --keep 'layer\.0'
try quantize model out --to int8 --only expertz
try quantize model out --to int8 --shard-size 100
try quantize model out --bits experts=int3
try quantize model out --bits experts=int4,attention=fp8
try quantize model none/out --to int8
try quantize model model/config.json/out --to int8
try quantize --check none
try quantize --check model --to int8
unchanged
# IN itself, by whatever name.
ln -s model link
mkdir links
ln -s ../model/config.json ../model/model.safetensors links/
before
try quantize model model --to int8 --force
try quantize model/ ./model/. --to int8 --force
try quantize model link --to int8 --force
try quantize link/ model --to int8 --force
try quantize model model/out --to int8
cp -rL model copy
ln -sf ../copy/config.json ../copy/model.safetensors links/
before
try quantize links copy --to int8 --force
unchanged
# OUT that is there.
mkdir photos file.partial && touch photos/me.jpg photos/config.json file file.partial/x
ln -s nowhere dangling
before
try quantize model photos --to int8
try quantize model photos --to int8 --force
try quantize model file --to int8 --force
try quantize model dangling --to int8 --force
rm file && before
try quantize model file --to int8
try quantize model file --to int8 --resume
try quantize model file --to int8 --force
unchanged
# A shard is missing, a file is cut off.
mkdir missing && cp model/config.json missing
echo '{"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}' >missing/model.safetensors.index.json
try quantize missing out --to int8
mkdir cut && cp model/config.json cut && head -c 100000 model/model.safetensors >cut/model.safetensors
try quantize cut out --to int8
# Files may not grow so large: told before the work, and nothing is left.
(ulimit -f 500; try quantize model limited --to int8)
ls -d limited* 2>/dev/null
# Folders of odd names.
for name in 'two words' $'new\nline' ümlaut; do
  quantize model "$name" --to int8 -q >/dev/null && quantize --check "$name" >/dev/null && echo made
done
quantize model --to int8 -q -- -dash >/dev/null && quantize --check ./-dash >/dev/null && echo made
mkdir here && (cd here && quantize ../model . --to int8 -q >/dev/null && ls)
quantize model slashes/// --to int8 -q >/dev/null && ls slashes
# Few files may be open.
(ulimit -n 20; quantize model few --to int8 -q -t 2 >/dev/null && quantize --check few >/dev/null && echo made)

# -v on standard error; without it success is silent there.
baleen run -m $MODEL --isa scalar -t 2 -n 3 --seed 5 hello 2>quiet >plain
wc -c <quiet
baleen run -m $MODEL --isa scalar -t 2 -n 3 --seed 5 -v hello 2>verbose >loud
cmp plain loud && echo 'same output'
sed -E -e 's/[0-9]+\.[0-9]+ s/N s/g' -e 's/[0-9.]+ tokens\/s/N tokens\/s/g' verbose
baleen run -m $MODEL --isa scalar -n 0 --progress hello 2>&1 | sed -E 's/[0-9.]+ tokens\/s/N tokens\/s/'
baleen run -m $MODEL --isa scalar -n 0 --progress --quiet hello 2>&1 | wc -c
# Weights that config.json asks nothing of.
cp -rL $MODEL less
jq '.n_shared_experts = 0' $MODEL/config.json >less/config.json
baleen run -m less --isa scalar -n 0 -v hello 2>&1 | grep -c '^unused    6 tensors'
baleen run -m $MODEL --isa scalar -n 0 -v hello 2>&1 | grep -c '^unused'

# -v on standard error; without it success is silent there.
baleen run -m $MODEL --isa scalar -t 2 -n 3 --seed 5 hello 2>quiet >plain
wc -c <quiet
baleen run -m $MODEL --isa scalar -t 2 -n 3 --seed 5 -v hello 2>verbose >loud
cmp plain loud && echo 'same output'
sed -E -e 's/[0-9]+\.[0-9]+ s/N s/g' -e 's/[0-9.]+ tokens\/s/N tokens\/s/g' verbose
baleen run -m $MODEL --isa scalar -n 0 --progress hello 2>&1 | sed -E 's/[0-9.]+ tokens\/s/N tokens\/s/'
baleen run -m $MODEL --isa scalar -n 0 --progress --quiet hello 2>&1 | wc -c

# Wrong command lines of bench: status 2, before anything is measured.
try baleen bench extra
try baleen bench --bacth 1
try baleen bench -p x
try baleen bench -p 1,,2
try baleen bench -b 0
try baleen bench -r 0
try baleen bench -p 0 -n 0
try baleen bench -m $MODEL -p 4000
try baleen bench -m $MODEL -d 4000 -n 32
try baleen bench --json --csv
try baleen bench --weights int4
try baleen bench --layers 2
try baleen bench --shape nowhere.json
try baleen bench --shape deepseek-v3 --weights int2
try baleen bench --shape olmoe --layers 99
try baleen bench --kl $MODEL
try baleen bench --ctx 64
try baleen bench --ppl text --shape olmoe
try baleen bench --ppl text --csv
try baleen bench --price-in 1
try baleen bench --price-in 1 --price-out 1
try baleen bench --cost-per-hour 0
try baleen bench --cost-per-hour 1 -n 0
try baleen bench --cost-per-hour 1 --csv
try baleen bench --prefill-tps 10
try baleen bench --tokens-in 5
try baleen bench --tokens-in 5 --tokens-out 5
try baleen bench --tokens-in 5 --tokens-cached 6 --tokens-out 5 --cost-per-hour 1 --price-in 1 --price-out 1
try baleen bench --price-cached 1 --cost-per-hour 1 --price-in 1 --price-out 1
try baleen bench --isa sse9
try baleen bench --memory 1K
# A file that is wrong, and one that is not there: status 1.
try baleen bench -m nowhere
echo '{"model_type": "gpt2"}' >config.json
try baleen bench --shape config.json
echo '{"schema": 1, "models": [{"name": "A", "price_in": -1}, 5]}' >prices.json
try baleen bench --cost-per-hour 1 --prices prices.json --prefill-tps 1 --decode-tps 1
try baleen bench -m $MODEL --ppl nowhere.txt
# Of the default depths none is left for these tokens.
try baleen bench -m $MODEL -n 4000

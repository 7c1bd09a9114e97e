# DeepSeek's published day; nothing is measured.
day='--tokens-in 608e9 --tokens-cached 342e9 --tokens-out 168e9'
prices='--price-in 0.55 --price-cached 0.14 --price-out 2.19'
try baleen bench --cost-per-hour 3628 $prices $day
try baleen bench --cost-per-hour 3628 $prices $day --hours 24 --json
try baleen bench --cost-per-hour 10 --price-in 1 --price-out 2 --tokens-in 1M --tokens-out 500k --hours 0.5
# Given speeds in place of measured ones.
try baleen bench --cost-per-hour 2 --prefill-tps 5000 --decode-tps 400 -p 1000 -n 200
try baleen bench --cost-per-hour 2 --price-in 0.55 --price-out 2.19 --prefill-tps 5000 --decode-tps 400 -p 1000 -n 200 \
  --prices "$SOURCE/examples/prices/2025-02.json" | sed "s|$SOURCE|SOURCE|"
baleen bench --cost-per-hour 2 --price-in 0.55 --price-out 2.19 --prefill-tps 5000 --decode-tps 400 -p 1000 -n 200 \
  --prices "$SOURCE/examples/prices/2025-02.json" --json | jq -c '.schema, .cost.requests, .cost.published_prices[0]'
# And with measured ones.
baleen bench -q -m $MODEL -p 4,8 -n 2 -d 0,4 -b 1,2 -r 1 --cost-per-hour 1 --price-in 1 --price-out 2 --json |
  jq -c '.cost | (.request_tokens_in, .request_tokens_out, .cost_per_million_in_dollars > 0, (.input | keys))'
baleen bench -q -m $MODEL -p 8 -n 2 -d 4 -b 2 -r 1 --cost-per-hour 1 --prices "$SOURCE/examples/prices/2025-02.json" |
  grep -oE '^(input as measured by.*: cost|published prices.*|DeepSeek R1)'

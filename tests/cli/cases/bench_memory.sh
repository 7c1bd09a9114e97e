# Weights within a budget: what the cache of experts did, less what depends on the machine.
export BALEEN_MODEL=$MODEL
try baleen bench -p 4 -n 0 --memory 1
try baleen bench --memory 1G --shape olmoe
try baleen bench --memory lots
small='-q -p 4 -n 2 -d 4 -b 1,2 -r 2 --memory 1.5M'
baleen bench $small >text
grep -E '^(memory|disk|Of the experts)' text |
  sed -e 's/^disk .*: .* of the model/disk of the model/' -e 's/by .*the page cache/by ... the page cache/'
grep -A 3 '^test .* hits' text | tr -s ' ' | grep -oE '^(test .*|prefill [0-9]+|decode [^ ]+ depth [^ ]+ batch [0-9])'
baleen bench $small --json >object
jq -c '.memory | keys, .budget_bytes, .all_weights_fit, .experts, (.disk_samples | length), (.disk_samples[0] | keys)' object
jq -c '.memory.slots < .memory.experts, .warm_up.bytes' object
jq '.memory.resident_bytes + .memory.slots * .memory.slot_bytes <= .memory.budget_bytes' object
jq '([.memory.disk_samples[] | .bytes / .seconds] | max) / .memory.disk_bytes_per_second == 1' object
jq -c '.tests[0] | keys' object
jq '[.tests[] | .hit_rate + .guess_rate + .miss_rate - 1 | fabs] | max < 1e-9' object
jq '[.tests[] | (.bytes_needed_per_token > 0), .bytes_read_per_token > 0, .disk_share > 0, .bound_seconds >= .roofline_seconds] | all' object
# Of all repetitions together: what was read, over what the disk could have read.
jq '.memory.disk_bytes_per_second as $disk | [.tests[] | (.seconds | length) as $runs | (.tokens * .batch * $runs) as $tokens
  | .bytes_read_per_token * $tokens / ($disk * (.seconds | add)) / .disk_share - 1 | fabs] | max < 1e-9' object
jq '.memory.disk_bytes_per_second as $disk | [.tests[]
  | ([.bytes_needed_per_token * .tokens * .batch / $disk, .roofline_seconds] | max) / .bound_seconds - 1 | fabs] | max < 1e-9' object
baleen bench $small --csv | sed 1q | tr , '\n' | grep -E 'rate|precision|_per_token|disk|stall|bound'
baleen bench $small --markdown | grep -E '^(\| test|\|--|- (memory|disk))' | sed -e 's/^- disk: .*/- disk: .../'
# All weights fit: no cache, and no more to say.
baleen bench -q -p 4 -n 0 -r 1 --memory 1G | grep -E '^(memory|disk|Of the experts)|hits'
baleen bench -q -p 4 -n 0 -r 1 --memory 1G --json | jq -c '.memory, .warm_up.bytes, (.tests[0] | has("hit_rate"))'
baleen bench -q -p 4 -n 0 -r 1 --json | jq -c .memory

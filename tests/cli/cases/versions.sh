# Help and version.
try baleen run -h
try baleen --help
[ "$(baleen -h)" = "$(baleen --help)" ] && echo 'baleen -h: same'
for command in '' run quantize bench route-stats; do
  baleen $command -h | awk 'length > 80 { print "too wide: " $0 } END { print (NR <= 24 ? "fits a screen" : "too long: " NR) }'
done
baleen run --help | awk 'length > 80 { print "too wide: " $0 }'
baleen --version | sed -E 's/[0-9]+\.[0-9]+\.[0-9]+ \(commit [0-9a-z]+\)/V (commit C)/' | sed -n 1p
baleen --version | sed -n 's/: .*/:/p'
BALEEN_ISA=scalar baleen --version | grep 'in use'
baleen run --isa scalar --version | grep 'in use'
BALEEN_ISA=sse9 baleen --version 2>&1 | sed 's/it has .*/it has .../'
# Help comes first, whatever else is wrong.
baleen run --temp x --help | sed -n 1p
baleen run --batch x -h | sed -n 1p

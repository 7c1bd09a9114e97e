# Wrong command lines: status 2, and a way on.
try baleen
try baleen rnu
try baleen frobnicate
try baleen --verion
try baleen quantize IN OUT --to int8
try baleen run --tmep 1 hello
try baleen run --tempp hello
try baleen run --temperature 1 hello
try baleen run --frobnicate hello
try baleen run -x hello
try baleen run -s hello
try baleen run -m
try baleen run --stop= hello
try baleen run --greedy=no hello
try baleen run one two
try baleen run --temp x hello
try baleen run --temp -1 hello
try baleen run --top-p 1.5 hello
try baleen run --seed 1.5 hello
try baleen run -n -2 hello
try baleen run -n 1Q hello
try baleen run -t 0 hello
try baleen run --format xml hello
try baleen run --isa sse9 hello
try baleen run --kv-type fp4 hello
try baleen run --greedy --temp 0.5 hello
try baleen run --json hello
try baleen run --stop '' hello

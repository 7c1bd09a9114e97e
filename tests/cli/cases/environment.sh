# Environment variables: a bad value is named, options win, an empty value is none.
BALEEN_THREADS=many try baleen run -m $MODEL hello
BALEEN_ISA=sse9 try baleen run -m $MODEL hello
lacking=neon
[ "$(uname -m)" = x86_64 ] || lacking=amx
for command in run bench route-stats 'quantize IN OUT --to int4'; do
  BALEEN_ISA=$lacking baleen $command 2>&1 | sed "s/$lacking/LACKING/; s/; it has .*/; it has .../"
done
BALEEN_ISA=scalar baleen run --isa $lacking hello 2>&1 | sed "s/$lacking/LACKING/; s/; it has .*/; it has .../"
BALEEN_MEMORY=1 try baleen run -m $MODEL hello
BALEEN_MEMORY=1 try baleen run -m $MODEL --lm-head int8 hello
BALEEN_MEMORY=1 try baleen run -m $MODEL --memory 2 hello
BALEEN_MODEL=nowhere try baleen run hello
BALEEN_THREADS=many try baleen run -m $MODEL -t 1 --isa scalar --greedy -n 3 --ids '3 4 5'
BALEEN_ISA=sse9 try baleen run -m $MODEL --isa scalar --greedy -n 3 --ids '3 4 5'
BALEEN_MODEL=$MODEL BALEEN_ISA=scalar BALEEN_THREADS= try baleen run --greedy -n 3 --ids '3 4 5'

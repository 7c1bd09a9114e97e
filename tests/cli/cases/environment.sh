# Environment variables: a bad value is named, options win, an empty value is none.
BALEEN_THREADS=many try baleen run -m $MODEL hello
BALEEN_ISA=sse9 try baleen run -m $MODEL hello
BALEEN_MODEL=nowhere try baleen run hello
BALEEN_THREADS=many try baleen run -m $MODEL -t 1 --isa scalar --greedy -n 3 --ids '3 4 5'
BALEEN_ISA=sse9 try baleen run -m $MODEL --isa scalar --greedy -n 3 --ids '3 4 5'
BALEEN_MODEL=$MODEL BALEEN_ISA=scalar BALEEN_THREADS= try baleen run --greedy -n 3 --ids '3 4 5'

# Options and commands of later versions are known, and refused plainly.
for option in --batch=x --parallel=2 --output=x --resume --memory=1G --route-log=x; do
  try baleen run -m $MODEL $option hello
done
try baleen run -m $MODEL -o x hello
BALEEN_MEMORY=1G try baleen run -m $MODEL hello
try baleen bench --memory 1G
try baleen route-stats

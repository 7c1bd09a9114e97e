# Options and commands of later versions are known, and refused plainly.
for option in --memory=1G --route-log=x; do
  try baleen run -m $MODEL $option hello
done
BALEEN_MEMORY=1G try baleen run -m $MODEL hello
try baleen bench --memory 1G
try baleen route-stats

# Options and commands of later versions are known, and refused plainly.
try baleen run -m $MODEL --memory=1G hello
BALEEN_MEMORY=1G try baleen run -m $MODEL hello
try baleen bench --memory 1G

# A model file that shrinks under the run is an error, not a crash.
cp -rL $MODEL shrinking
mkfifo in
baleen run -m shrinking --isa scalar -n 3 -f in >stdout 2>stderr &
exec 3>in  # waits until the prompt is about to be read: the model is open by then
: >shrinking/model.safetensors
echo hello >&3
exec 3>&-
wait $!
echo "status $?"
sed 's/^/! /' stderr
# With --memory, experts that are gone end the run: file, tensor and offset, and no token made of anything else.
cp -rL $MODEL cached
baleen run -m cached --isa scalar --greedy -n 3 --memory 1300K --batch in --parallel 1 >stdout 2>stderr &
exec 3>in
echo '{"ids":[10,11,12]}' >&3
until [ -s stdout ]; do sleep 0.01; done
truncate -s $(($(stat -c %s cached/model.safetensors) / 2)) cached/model.safetensors
echo '{"ids":[20,21,22,23,24,25,26,27]}' >&3
exec 3>&-
wait $!
echo "status $?"
jq -c .ids stdout
sed -E 's/^/! /; s/layers\.[0-9]+\.mlp\.experts\.[0-9]+\.[a-z]+_proj/EXPERT/; s/(offset|expected) [0-9]+/\1 N/g' stderr

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

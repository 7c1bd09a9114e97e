# What a case can use; runs the case named by the first argument in the current folder.

baleen() { "$PROGRAM" "$@"; }

skip() { echo "$*"; exit 77; }

# Shows a command and what it does.
try() {
  printf '$'
  printf ' %s' "$@"
  printf '\n'
  "$@" >stdout 2>stderr
  local status=$?
  cat stdout
  sed 's/^/! /' stderr
  [ $status -eq 0 ] || echo "status $status"
  rm -f stdout stderr
}

# A folder with the tiny model NAME and the tiny tokenizer.
make_model() {
  mkdir -p "$2"
  ln -s "$GOLDEN/models/$1/config.json" "$GOLDEN/models/$1/model.safetensors" "$2/"
  ln -s "$GOLDEN"/tiny-tokenizer/*.json "$2/"
}

make_model deepseek_v3-moonlight model
MODEL=model
. "$1"

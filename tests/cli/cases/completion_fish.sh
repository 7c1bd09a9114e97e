command -v fish >/dev/null || skip 'no fish'
export HOME=$PWD
baleen --generate fish baleen.fish
fish -n baleen.fish && echo 'syntax: ok'
fish -c 'source baleen.fish
  complete -C "baleen "
  complete -C "baleen run --te"
  complete -C "baleen run --format "'

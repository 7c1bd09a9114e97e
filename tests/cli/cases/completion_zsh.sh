command -v zsh >/dev/null || skip 'no zsh'
baleen --generate zsh _baleen
zsh -n _baleen && echo 'syntax: ok'
zsh -fc '
  autoload -Uz compinit; fpath=($PWD $fpath); compinit -u -d ./dump
  whence -w _baleen; echo ${_comps[baleen]}
'

baleen --generate bash completion
. ./completion
complete_for() {
  COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
  _baleen 2>/dev/null
  printf '%s\n' "${COMPREPLY[@]}" | sort | paste -sd ' '
}
complete_for baleen ''
complete_for baleen run --te
complete_for baleen run --format ''
complete_for baleen run --kv-type f
mkdir folder && touch file
complete_for baleen run -m f
complete_for baleen run -f f
complete_for baleen run --me

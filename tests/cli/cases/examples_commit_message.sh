# examples/commit-message-hook: a proposal where there can be one, and a commit always.
export BALEEN="$PROGRAM" BALEEN_ISA=scalar BALEEN_THREADS=1 DIFF_TOKENS=150 MESSAGE_TOKENS=8 AT_MOST=600
command -v git >/dev/null || skip 'no git'
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_EDITOR=true
for name in AUTHOR COMMITTER; do export "GIT_${name}_NAME=A" "GIT_${name}_EMAIL=a@b"; done
git init -q repository && cd repository || exit
cp "$SOURCE/examples/commit-message-hook" .git/hooks/prepare-commit-msg
subject() { git log -1 --format=%s; }
# What the model was asked, besides.
cat >../asked <<'SH'
#!/bin/sh
case " $* " in *" --dry-run "*) exec "$PROGRAM" "$@" ;; esac
tee ../prompt | "$PROGRAM" "$@"
SH
chmod +x ../asked
count() { printf '%s' "$(cat ../prompt)" | baleen run --dry-run --raw --format jsonl -f - | jq '.ids | length'; }

echo 'What is 12 + 9?' >file && git add file
BALEEN=../asked git commit -q && subject
cmp ../prompt <(git show --format=) && echo 'the diff'
# A large change is cut, between characters.
for i in $(seq 300); do echo "line $i is größer"; done >file && git add file
BALEEN=../asked git commit -q && subject
[ "$(count)" -le 150 ] && [ "$(count)" -gt 100 ] && iconv -f UTF-8 ../prompt >/dev/null && echo 'cut'
# A message of one's own stays alone.
echo a >file && git add file && BALEEN=../asked git commit -q -m mine && subject
# Nothing that fails stops a commit: here the editor writes the message.
export GIT_EDITOR='echo edited >'
for model in nowhere "$MODEL"; do
  echo "$model" >file && git add file && BALEEN_MODEL=$model git commit -q && subject
done
echo b >file && git add file && BALEEN=nowhere git commit -q && subject
printf '#!/bin/sh\nsleep 60\n' >../slow && chmod +x ../slow
echo c >file && git add file && AT_MOST=0.1 BALEEN=../slow git commit -q && subject
git commit -q --allow-empty && subject
git status --short

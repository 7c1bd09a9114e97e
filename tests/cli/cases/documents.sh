# Man pages without warnings, and every option in them; the examples in them run.
for page in baleen baleen-run baleen-bench; do
  baleen --generate man $page.1 "$SOURCE/man/$page.1.in"
  command -v groff >/dev/null && groff -man -Tutf8 -ww $page.1 2>&1 >$page.txt | head
  grep -c '@' $page.1
done
for command in run bench; do
  baleen $command --help | grep -oE '^  (    |-., )--[a-z-]+' | grep -oE -- '--[a-z-]+' | while read -r option; do
    grep -q -- "${option//-/\\\\-}" baleen-$command.1 || echo "$option is missing"
  done
done
# Of a shape that fills the memory no example is run.
sed -n '/^\.EX$/,/^\.EE$/p' baleen-run.1 baleen-bench.1 | grep -v '^\.' | sed 's/\\-/-/g' | grep -v deepseek-v3 >examples
wc -l <examples
echo 'Once upon a time' >prompt.txt
echo '{"prompt":"Once upon a time"}' | tee monday.jsonl >tuesday.jsonl
export BALEEN_MODEL=$MODEL
while read -r line; do
  (eval "$line") >output 2>&1 || { echo "failed: $line"; cat output; }
done <examples

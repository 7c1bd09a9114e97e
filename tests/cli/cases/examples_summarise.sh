# examples/summarise: a file each, by xargs and as a batch. The bundled model adds up what it should summarise.
export BALEEN="$PROGRAM" BALEEN_ISA=scalar BALEEN_THREADS=1
summarise() { "$SOURCE/examples/summarise" "$@"; }
mkdir -p 'texts/a folder'
echo 'What is 12 + 9?' >texts/one.txt
printf 'What is 30 - 12?' >"texts/a folder/it's \$two.txt"
echo 'What is 5 + 5?' >texts/other.md
try summarise texts plain ''
find plain -type f | sort | while IFS= read -r file; do echo "$file: $(cat "$file")"; done
# With a text that has none yet, only that is new.
echo 'What is 3 + 4?' >texts/three.txt
echo mine >plain/one.txt
JOBS=2 summarise texts plain ''
cat plain/one.txt plain/three.txt
try summarise -b texts batch ''
echo mine >batch/one.txt
diff -r plain batch && echo 'as a batch: the same'
try summarise -b texts batch
# A file that is too long is said to be so, and the others are done.
rm -r batch plain
yes 'and so on' | head -n 400 >texts/long.txt
summarise -b texts batch '' 2>message
echo "status $?"
sort message
try summarise texts plain ''
diff -r plain batch && ls batch
try summarise texts

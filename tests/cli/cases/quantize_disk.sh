# A disk without room: said before the work, with what is missing; the source is as it was.
mkdir disk
unshare -rm sh -c 'mount -t tmpfs -o size=1m none disk' 2>/dev/null || skip 'no file system may be mounted here'
cksum <$MODEL/model.safetensors >before
unshare -rm bash -c '
  mount -t tmpfs -o size=1m none disk
  "$PROGRAM" quantize model disk/out --to int8 --isa scalar -q
  echo "status $?"
  ls -A disk
  mount -t tmpfs -o size=2504k none disk
  "$PROGRAM" quantize model disk/out --to int8 --isa scalar -q >/dev/null
  echo "status $?"
  ls disk disk/out
  "$PROGRAM" quantize model disk/out --to int8 --isa scalar -q --force
  echo "status $?"
  ls disk
  "$PROGRAM" quantize --check disk/out
  mount -t tmpfs none disk
  "$PROGRAM" quantize model disk --to int8 --isa scalar -q
  echo "status $?"
' 2>&1 | sed -E 's|[0-9.]+ MiB|N MiB|g'
cksum <$MODEL/model.safetensors | cmp - before && echo 'the source: the same'

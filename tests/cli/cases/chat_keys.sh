# The interactive chat on the terminal itself: Ctrl-C, signals, what the terminal is left as, colour, pasting,
# and the file of lines typed.
[ -x "$TERMINAL" ] || skip 'the terminal driver is not built'
command -v jq >/dev/null || skip 'no jq'
# A context that no answer comes to the end of.
mkdir long
ln -s "$(realpath "$SOURCE")"/examples/model/*.json* "$(realpath "$SOURCE")"/examples/model/*.safetensors \
  "$(realpath "$SOURCE")"/examples/model/*.jinja long/
rm long/config.json
jq '.max_position_embeddings = 1000000' "$SOURCE/examples/model/config.json" >long/config.json
chat() { "$TERMINAL" "$PROGRAM" run -m long --isa scalar -t 1 "$@"; }

echo '# Ctrl-C stops the answer, which is kept as far as it went'
chat --ignore-eos -n -1 <<'END'
wait >
modes
send What is 347 + 589?\n
wait <think>
modes
send \x03
wait Stopped: the answer is kept
wait \n>
send And 12 - 30?\n
wait <think>
send \x03
wait Stopped: the answer is kept
wait \n>
send /save stopped.json\n
wait \n>
send \x04
END
jq -c '[.messages[].role]' stopped.json
echo '# twice during an answer: the end'
chat --ignore-eos -n -1 <<'END'
wait >
send What is 347 + 589?\n
wait <think>
send \x13
sleep 200
signal INT
sleep 200
signal INT
sleep 200
signal INT
end
modes
END
echo '# Ctrl-C at the prompt'
chat <<'END'
wait >
send nothing of this\x03
wait \n>
send """\n
wait \n.
send nor of this\n
wait \n.
send \x03
wait \n>
send \x03
wait Ctrl-C again ends
wait \n>
send /save typed.json\n
wait \n>
send \x03
wait Ctrl-C again ends
wait \n>
send \x03
end
modes
END
jq -c .messages typed.json
echo '# SIGTERM'
chat --ignore-eos -n -1 <<'END'
wait >
send What is 347 + 589?\n
wait <think>
signal TERM
end
modes
END
chat <<'END'
wait >
send half a line
wait half a line
modes
signal TERM
end
modes
END
echo '# --messages begins a chat; standard output and standard error on the terminal'
echo '[{"role": "user", "content": "What is 347 + 589?"}]' >begun.json
chat --messages begun.json --think drop <<'END'
wait /help tells the rest
wait 936
wait >
send 12 - 30 =\n
wait -18
wait >
send /quit\n
END
echo '# colour, and pasted lines'
TERM=xterm chat <<'END'
wait \e[?2004h
wait \e[1;32m>\e[0m
send \e[200~one\x0dtwo\x0d\e[201~\n
wait \e[?2004l
wait \e[?2004h
send /save pasted.json\n
wait \e[?2004h
send \x04
wait \e[?2004l
END
jq -c .messages[0].content pasted.json
NO_COLOR=1 TERM=xterm chat <<'END'
wait \e[?2004h> 
send \x04
END
echo '# lines typed'
previous() {
  chat -q <<'END'
wait >
send \x10\n
wait \n>
send \x04
END
}
export BALEEN_HISTORY=folder/lines
chat -q <<'END'
wait >
send /save first.json\n
wait \n>
send \x04
END
stat -c %a folder/lines
rm first.json
previous
jq -c .messages first.json
unset BALEEN_HISTORY
XDG_STATE_HOME=$PWD/state chat -q <<'END'
wait >
send /save second.json\n
wait \n>
send \x04
END
rm second.json
XDG_STATE_HOME=$PWD/state previous
ls second.json state/baleen
BALEEN_HISTORY=/dev/null previous
[ -c /dev/null ] && echo 'still a device'
BALEEN_HISTORY=/proc/no/such/folder previous
seq 3 >notes
: >empty
for file in notes empty; do
  BALEEN_HISTORY=$file chat -q <<'END'
wait >
send /stats\n
wait \n>
send \x04
END
  cat $file
done

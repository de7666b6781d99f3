# Prints sentences, refusals and the progress of gpu_check.sh, which reads this file.

# Prints a sentence in lines that fit a terminal of 80 columns. Only a word that is longer, such as a path, gets a longer line.
wrapped() { # SENTENCE [INDENT OF THE FIRST LINE [INDENT OF THE OTHERS]]
  local words word line=${2:-} begins=1
  read -ra words <<< "${1//$'\n'/ }"
  for word in "${words[@]}"; do
    if [ $begins = 0 ] && [ $((${#line} + 1 + ${#word})) -gt 80 ]; then
      printf '%s\n' "$line"
      line=${3:-  }$word
    else
      [ $begins = 1 ] || line+=" "
      line+=$word
    fi
    begins=0
  done
  printf '%s\n' "$line"
}
refuse() { # SENTENCE
  wrapped "$1" >&2
  exit 2
}

in_minutes() { # SECONDS
  if [ "$1" -lt 60 ]; then echo "$1 s"; else echo "$(($1 / 60)) min"; fi
}
# Prints which part begins, and how much time is left, or how much has passed where the call has no end.
announce() { # NUMBER
  local now time
  now=$(date +%s)
  if [ -n "$deadline" ]; then time="$(in_minutes $((deadline - now))) left"; else time="$(in_minutes $((now - begun))) so far"; fi
  echo "part $1 of ${#parts[@]}: $part ($time)"
}

# Prints once a minute that the part still runs, with the last line of its log, until this process is killed or the call is gone. A test
# asks for shorter times.
show_life() {
  local never last
  # This process must hold neither the lock of the call's folder nor a pipe to a program.
  [ -z "${lock:-}" ] || exec {lock}>&-
  exec {never}<> <(:)
  while :; do
    # Nothing ever comes to be read. In contrast to a `sleep`, the wait leaves no process behind when this one is killed.
    read -rt "${GPU_CHECK_LIFE_SECONDS:-60}" -u "$never"
    kill -0 $$ 2> /dev/null || return
    last=$(tail -n 1 "$log" | tr -cd '[:print:]')
    printf '%-23s runs    %4d s  %s\n' "$part" $(($(date +%s) - started)) "${last:0:41}"
  done
}

# The reports of gpu_check.sh, which reads this file. Each part has left a line for people and an object of JSON.
# How each part ended, in this call or an earlier one: passed, failed, late (it took too long), lost (its card), busy (its card), cut
# or skipped.
declare -A status_of=()
read_statuses() {
  local part text
  for part in "${all[@]}"; do
    [ -f "$out/parts/$part.json" ] || continue
    read -r text < "$out/parts/$part.json"
    [[ ! $text =~ \"status\":\"([a-z]*)\" ]] || status_of[$part]=${BASH_REMATCH[1]}
  done
}
# Forgets which parts were skipped in an earlier call: the machine may have what they lacked.
forget_skipped() {
  local part
  for part in "${!status_of[@]}"; do
    [ "${status_of[$part]}" != skipped ] || { unset "status_of[$part]"; rm -f "$out/parts/$part".{json,txt}; }
  done
}

# Says of a part that did not pass whether the card is to blame. A part that had too little time has found nothing wrong.
ended="" # why no further part can run
judge() {
  local problem
  if [ -n "$signal" ]; then status=cut why="interrupted"
  elif [ $status = failed ] && [ "$cut" = call ]; then status=cut why="the minutes of the call ended"
  elif [ $status = failed ] && [ "$cut" = part ]; then status=late why="it took over $limit s"
  elif [ $part = build ]; then [ $status = passed ] || ended=$why
  elif [ $status != passed ] && [ $rehearse = 0 ] && problem=$(card_problem) && [ -n "$problem" ]; then
    status=lost why="the card can't be used any more: $problem" ended=$why
  elif [ $status = failed ] && problem=$(grep -m 1 -oiE 'out of memory|is/are busy or unavailable' "$log"); then
    status=busy why="another program may use the card (nvidia-smi tells): $problem"
  fi
}

json_text() { printf '"%s"' "$(printf '%s' "$1" | tr '\n\t' '  ' | sed 's/\\/\\\\/g; s/"/\\"/g')"; }

# Records how the part ended, and prints its line.
record() {
  local seconds measured
  seconds=$(($(date +%s) - started))
  measured=$(grep '^{.*}$' "$log" | paste -sd, -)
  status_of[$part]=$status
  printf '{"part":"%s","status":"%s","seconds":%d,"why":%s,"measured":[%s]}' "$part" $status $seconds "$(json_text "$why")" "$measured" \
    > "$out/parts/$part.json"
  # A reason that does not fit a terminal of 80 columns has lines of its own.
  {
    printf '%-23s %-7s %4d s' "$part" $status $seconds
    if [ -z "$why" ]; then echo; elif [ ${#why} -le 41 ]; then printf '  %s\n' "$why"; else
      echo
      wrapped "$why" "    " "    "
    fi
  } | tee "$out/parts/$part.txt"
}

report() {
  local part
  {
    printf '{"rehearsal":%s,"commit":%s,"parts":[' "$([ $rehearse = 1 ] && echo true || echo false)" \
      "$(json_text "$(commit)")"
    local first=1
    for part in "${all[@]}"; do
      [ -f "$out/parts/$part.json" ] || continue
      [ $first = 1 ] || printf ','
      first=0
      printf '\n  '
      cat "$out/parts/$part.json"
    done
    printf '\n]}\n'
  } > "$out/report.json"
  {
    [ $rehearse = 0 ] || echo "A rehearsal on the emulated card: nothing here was computed by a GPU."
    verdict
    echo "commit $(commit)"
    for part in "${all[@]}"; do
      if [ -f "$out/parts/$part.txt" ]; then cat "$out/parts/$part.txt"; else printf '%-23s not run\n' "$part"; fi
    done
    for part in "${all[@]}"; do
      [ "${status_of[$part]:-}" != passed ] || ! grep -q '^{"model"' "$out/parts/$part.log" ||
        awk -v part="$part" -f "$tools/gpu_check/steps.awk" "$out/parts/$part.log"
    done
  } > "$out/report.txt"
}

why_of() { sed -n 's/.*"status":"[a-z]*","seconds":[0-9]*,"why":"\(.*\)","measured":.*/\1/p' "$out/parts/$1.json" | sed 's/\\\(.\)/\1/g'; }
# The parts whose success proves that the card computes correctly. The other parts measure speed, or look for mistakes that left no trace in
# results.
proof=(instructions ops-elementwise ops-matrix ops-attention ops-movement products step dump resume)
verdict() {
  local part wrong=() open=() also=() lost="" card="The card"
  [ $rehearse = 0 ] || card="The emulated card"
  for part in "${proof[@]}"; do
    case ${status_of[$part]:-} in passed) ;; failed) wrong+=($part) ;; *) open+=($part) ;; esac
  done
  for part in "${all[@]}"; do
    [ "${status_of[$part]:-}" != lost ] || lost=$part
    case " ${proof[*]} several-cards " in *" $part "*) continue ;; esac
    [ "${status_of[$part]:-}" != failed ] || also+=($part)
  done
  case ${status_of[build]:-} in failed | skipped) wrapped "Nothing was checked: $(why_of build)."; return ;; esac
  if [ "${status_of[device]:-}" = skipped ]; then wrapped "Nothing was checked: $(why_of device)."
  elif ! is_checked; then
    if [ ${#left[@]} -gt 0 ]; then wrapped "Nothing was checked yet."; else
      wrapped "Nothing was checked: each part that was asked for was skipped."
    fi
  elif [ ${#wrong[@]} -gt 0 ]; then wrapped "$card computes wrong results: ${wrong[*]}"
  elif [ -n "$lost" ]; then wrapped "The card was lost in the part $lost: $(why_of $lost). What passed before remains true."
  elif [ ${#open[@]} -gt 0 ]; then wrapped "$card may compute right: these were not run to their end: ${open[*]}"
  else wrapped "$card computes right: all checks of instructions, ops, products and steps passed."; fi
  [ "${status_of[several-cards]:-}" != failed ] || wrapped "Several cards do not compute as one does: several-cards"
  [ ${#also[@]} = 0 ] || wrapped "These failed, too: ${also[*]}"
}
# Tells whether a part that was asked for has found something out. The build and the list of devices count where nothing else was asked for.
is_checked() {
  local part rest=" ${parts[*]} "
  case ${status_of[build]:-} in failed | skipped) return 1 ;; esac
  rest=${rest/ build / } rest=${rest/ device / }
  [ -n "${rest// /}" ] || rest="${parts[*]}"
  for part in $rest; do
    case ${status_of[$part]:-} in passed | failed | late | lost | busy) return 0 ;; esac
  done
  return 1
}

# The reports of gpu_check.sh, which reads this file. Each part has left a line for people and an object of JSON.
# How each part ended, in this call or an earlier one: passed, failed, late, cut or skipped.
declare -A status_of=()
read_statuses() {
  local part text
  for part in "${all[@]}"; do
    [ -f "$out/parts/$part.json" ] || continue
    read -r text < "$out/parts/$part.json"
    [[ ! $text =~ \"status\":\"([a-z]*)\" ]] || status_of[$part]=${BASH_REMATCH[1]}
  done
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
  printf '%-22s %-8s %4d s  %s\n' "$part" $status $seconds "$why" | tee "$out/parts/$part.txt"
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
      if [ -f "$out/parts/$part.txt" ]; then cat "$out/parts/$part.txt"; else printf '%-22s not run\n' "$part"; fi
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
  local part wrong=() open=() also=() card="The card"
  [ $rehearse = 0 ] || card="The emulated card"
  for part in "${proof[@]}"; do
    case ${status_of[$part]:-} in passed) ;; failed) wrong+=($part) ;; *) open+=($part) ;; esac
  done
  for part in "${all[@]}"; do
    case " ${proof[*]} " in *" $part "*) continue ;; esac
    [ "${status_of[$part]:-}" != failed ] || also+=($part)
  done
  if [ "${status_of[build]:-}" = failed ]; then echo "Nothing was checked: $(why_of build)."
  elif [ "${status_of[device]:-}" = skipped ]; then echo "Nothing was checked: $(why_of device)."
  elif [ ${#wrong[@]} -gt 0 ]; then echo "$card computes wrong results: ${wrong[*]}"
  elif [ ${#open[@]} -gt 0 ]; then echo "$card may compute right: these were not run to their end: ${open[*]}"
  else echo "$card computes right: all checks of instructions, ops, products and steps passed."; fi
  [ ${#also[@]} = 0 ] || [ "${also[*]}" = build ] || echo "These failed, too: ${also[*]}"
}

#!/usr/bin/env bash
# Checks the CUDA backend on a machine with a card. `gpu_check.sh --help` tells how (gpu_check/help.sh).
set -u
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
engine=$(dirname "$tools")
repository=$(dirname "$engine")
out=$PWD/gpu-check
build=
tenths= # of a minute, after which the call ends
packed=
rehearse=0
parts=()
limit=470
begun=$(date +%s)
programs=(gpu_check_tests list_devices step_dump step_bench product_bench)
all=(build device instructions ops-elementwise ops-matrix ops-attention ops-movement products step dump resume several-cards
  bench-7b-real bench-7b several-cards-7b memcheck racecheck initcheck synccheck bench-7b-rank64 bench-7b-streamed
  bench-7b-checkpointed several-cards-1b bench-1b-real bench-1b bench-1b-recovery bench-mid-real bench-mid
  bench-factbook-real bench-factbook bench-factbook-recovery torch-7b torch-1b torch-mid torch-factbook)

for file in words help machine parts pack report; do . "$tools/gpu_check/$file.sh" || exit 2; done
declare -A given=()
once() { # OPTION OR PART
  [ -z "${given[$1]:-}" ] || refuse "$1 is given twice: leave one out"
  given[$1]=1
}
is_part() {
  local one
  for one in "${all[@]}"; do [ "$one" != "$1" ] || return 0; done
  return 1
}
is_name() { [ -n "$1" ] && [[ $1 != -* ]]; }
folder_of() { is_name "${2:-}" || refuse "$1 needs a folder"; } # OPTION FOLDER
take_minutes() { # NUMBER
  [[ $1 =~ ^([0-9]{1,4})(\.([0-9]))?$ ]] && tenths=$((10#${BASH_REMATCH[1]} * 10 + ${BASH_REMATCH[3]:-0})) &&
    [ $tenths -ge 5 ] && [ $tenths -le 14400 ] || refuse "--minutes needs a number from 0.5 to 1440, such as 43 or 9.5"
}
while [ $# -gt 0 ]; do
  case $1 in
    --out) once "$1"; folder_of "$@"; out=$2; shift ;;
    --build) once "$1"; folder_of "$@"; build=$2; shift ;;
    --minutes) once "$1"; take_minutes "${2:-}"; shift ;;
    --rehearse) rehearse=1 ;;
    -h | --help) usage; exit 0 ;;
    list) list_parts; exit 0 ;;
    pack) [ $# = 2 ] && is_name "$2" || refuse "pack needs one name, that of the file to be written"; packed=$2; shift ;;
    -*) refuse "unknown option $1: gpu_check.sh --help tells all" ;;
    *)
      is_part "$1" || refuse "no part '$1': gpu_check.sh list names all"
      once "$1"
      parts+=("$1") ;;
  esac
  shift
done
[ -z "$packed" ] || [ ${#parts[@]} = 0 ] || refuse "pack takes no part, since it packs the programs of all"
[ ${#parts[@]} -gt 0 ] || parts=("${all[@]}")
cuda=ON device=cuda:0 kept=build-gpu-check portable=OFF
[ -z "$packed" ] || kept=build-gpu-pack portable=ON
[ $rehearse = 0 ] || { cuda=OFF; kept=build-gpu-rehearsal; }
: "${build:=$engine/$kept}"

# The moment at which the call ends what it runs, some seconds before its minutes are over. It is empty where the call has no end.
deadline=
[ -z "$tenths" ] || deadline=$((begun + tenths * 6 - 15))
# The seconds for which the part may go on; 0 stands for no end. A part that has no time left gets one second. A build may take its time.
seconds_left() {
  local now end
  now=$(date +%s)
  if [ "$part" = build ]; then end=$deadline; else end=$((started + limit)); fi
  [ -n "$end" ] || { echo 0; return; }
  [ -z "$deadline" ] || [ "$end" -le "$deadline" ] || end=$deadline
  echo $((end > now ? end - now : 1))
}
# Runs a program of a part. `cut` says whose time ended it: that of the part or that of the call. `timeout` keeps the keys of the terminal
# from the program, so the trap ends it.
limited() { # COMMAND...
  local status
  timeout --kill-after 5 "$(seconds_left)" "$@" &
  running=$!
  [ -z "$signal" ] || kill $running 2> /dev/null
  wait $running
  status=$?
  [ -z "$signal" ] || wait $running
  running=
  if [ $status = 124 ] || [ $status = 137 ]; then
    if [ -n "$deadline" ] && [ "$(date +%s)" -ge "$deadline" ]; then cut=call
    elif [ "$part" != build ] && [ "$(date +%s)" -ge $((started + limit)) ]; then cut=part; fi
  fi
  return $status
}
signal="" running=""
for name in HUP INT TERM; do trap "signal=$name; [ -z \"\$running\" ] || kill \$running 2> /dev/null" $name; done
end() { # STATUS
  [ -z "$signal" ] || exit $((128 + $(kill -l "$signal")))
  exit "$1"
}

if [ -z "${ESPALIER_CUBLASLT:-}" ] && library=$(product_library) && [ -n "$library" ]; then export ESPALIER_CUBLASLT=$library; fi
started=$begun cut="" why="" part=build
if [ -n "$packed" ]; then
  pack "$packed" || end $?
  echo "packed: $packed"
  exit 0
fi
problem=
[ $rehearse = 1 ] || [ "${parts[*]}" = build ] || problem=$(card_problem)
if [ -n "$problem" ]; then
  wrapped "Nothing was checked: no card can be used: $problem."
  advise "$problem"
  end 3
fi
open_out
failed=0 left=() number=0
read_statuses
export ESPALIER_REPOSITORY=$repository
forget_skipped

for part in "${parts[@]}"; do
  number=$((number + 1))
  [ -z "$ended" ] || break
  if [ -n "$signal" ]; then left+=("$part"); continue; fi
  if [ -n "$deadline" ]; then
    # The build is checked in each call; it takes seconds where no source changed. Parts that passed before the last build run again.
    [ "$part" = build ] || [ "${status_of[$part]:-}" != passed ] || [ "$out/parts/$part.json" -ot "$build/gpu_check_tests" ] || continue
    [ "$(date +%s)" -lt "$deadline" ] || { left+=("$part"); continue; }
  fi
  why="" cut=""
  started=$(date +%s)
  log=$out/parts/$part.log
  announce $number
  : > "$log"
  show_life & disown
  life=$!
  # The part does not run in a pipe, because a pipe's subshell would lose `why`.
  "part_$part" > "$log" 2>&1
  case $? in 0) status=passed ;; 3) status=skipped ;; *) status=failed ;; esac
  kill -KILL $life
  judge
  case $status in failed | late | lost | busy) failed=1 ;; cut) left+=("$part") ;; esac
  has_room || {
    wrapped "$out has no room for reports any more: make room, and call again" >&2
    rm -f "$out/parts/$part".{json,txt}
    end 2
  }
  record
  report
  [ "$status" != failed ] || tail -n 15 "$log" | sed 's/^/    /'
done
report
verdict
[ ${#left[@]} -eq 0 ] || wrapped "left for another call: ${left[*]}"
wrapped "report: $out/report.txt, $out/report.json"
if tar -czf "$out.tar.gz" -C "$(dirname "$out")" --exclude=.lock "$(basename "$out")"; then
  wrapped "all of it in one file: $out.tar.gz"
else wrapped "$out.tar.gz can't be written: send the folder itself" >&2; fi
[ $failed = 0 ] || end 1
[ ${#left[@]} -eq 0 ] || end 4
is_checked || end 3
end 0

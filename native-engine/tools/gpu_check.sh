#!/usr/bin/env bash
# Checks the CUDA backend on a machine with a card. `gpu_check.sh --help` tells how (gpu_check/help.sh).
set -u
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
engine=$(dirname "$tools")
repository=$(dirname "$engine")
out=$PWD/gpu-check
build=
minutes=
packed=
rehearse=0
parts=()
limit=470
begun=$(date +%s)
programs=(gpu_check_tests list_devices step_dump step_bench product_bench)
all=(build device instructions ops-elementwise ops-matrix ops-attention ops-movement products step dump resume several-cards
  bench-7b-real bench-7b several-cards-7b hopper hopper-bench memcheck racecheck initcheck synccheck bench-7b-rank64 bench-7b-streamed
  bench-7b-checkpointed several-cards-1b bench-1b-real bench-1b bench-1b-recovery bench-mid-real bench-mid
  bench-factbook-real bench-factbook bench-factbook-recovery torch-7b torch-1b torch-mid torch-factbook)

for file in help machine parts pack report; do . "$tools/gpu_check/$file.sh" || exit 2; done
while [ $# -gt 0 ]; do
  case $1 in
    --out) [ $# -ge 2 ] || { echo "--out needs a folder" >&2; exit 2; }; out=$2; shift ;;
    --build) [ $# -ge 2 ] || { echo "--build needs a folder" >&2; exit 2; }; build=$2; shift ;;
    --minutes)
      [[ ${2:-} =~ ^[0-9]+(\.[0-9])?$ ]] || { echo "--minutes needs a number" >&2; exit 2; }
      minutes=$2; shift ;;
    --rehearse) rehearse=1 ;;
    -h | --help) usage; exit 0 ;;
    list) list_parts; exit 0 ;;
    pack) [ $# = 2 ] || { echo "pack needs one name, that of the file to be written" >&2; exit 2; }; packed=$2; shift ;;
    -*) echo "unknown option $1: gpu_check.sh --help tells all" >&2; exit 2 ;;
    *)
      case " ${all[*]} " in *" $1 "*) parts+=("$1") ;; *) echo "no part $1: gpu_check.sh list names all" >&2; exit 2 ;; esac ;;
  esac
  shift
done
[ ${#parts[@]} -gt 0 ] || parts=("${all[@]}")
cuda=ON device=cuda:0 kept=build-gpu-check portable=OFF
[ -z "$packed" ] || kept=build-gpu-pack portable=ON
[ $rehearse = 0 ] || { cuda=OFF; kept=build-gpu-rehearsal; }
: "${build:=$engine/$kept}"

# The moment at which the call ends what it runs, some seconds before its minutes are over. It is empty where the call has no end.
deadline=
[ -z "$minutes" ] || deadline=$((begun + 10#${minutes%.*} * 60 + $([[ $minutes = *.* ]] && echo "${minutes#*.}" || echo 0) * 6 - 15))
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
open_out
failed=0 left=()
read_statuses
export ESPALIER_REPOSITORY=$repository

log=$out/parts/device.log
problem=
[ $rehearse = 1 ] || [ "${parts[*]}" = build ] || problem=$(card_problem)
if [ -n "$problem" ]; then
  part=device status=skipped why="no card can be used: $problem"
  advise "$problem" > "$log"
  record > /dev/null
  report
  verdict
  cat "$log"
  exit 3
fi
forget_skipped

for part in "${parts[@]}"; do
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
  # The part does not run in a pipe, because a pipe's subshell would lose `why`.
  "part_$part" > "$log" 2>&1
  case $? in 0) status=passed ;; 3) status=skipped ;; *) status=failed ;; esac
  judge
  case $status in failed | late | lost | busy) failed=1 ;; cut) left+=("$part") ;; esac
  has_room || { echo "$out has no room for reports any more: make room, and call again" >&2; rm -f "$out/parts/$part".{json,txt}; end 2; }
  record
  report
  [ "$status" != failed ] || tail -n 15 "$log" | sed 's/^/    /'
done
report
verdict
[ ${#left[@]} -eq 0 ] || echo "left for another call: ${left[*]}"
echo "report: $out/report.txt, $out/report.json"
if tar -czf "$out.tar.gz" -C "$(dirname "$out")" --exclude=.lock "$(basename "$out")"; then echo "all of it in one file: $out.tar.gz"
else echo "$out.tar.gz can't be written: send the folder itself" >&2; fi
[ $failed = 0 ] || end 1
[ ${#left[@]} -eq 0 ] || end 4
is_checked || end 3
end 0

#!/usr/bin/env bash
# Checks the CUDA backend on a machine with a card, from a bare checkout: a CUDA toolkit, CMake, a C++ compiler and make or Ninja are all it
# needs.
#   native-engine/tools/gpu_check.sh [--out FOLDER] [--build FOLDER] [--minutes N] [--rehearse] [PART...]
#   native-engine/tools/gpu_check.sh pack FILE.tar.gz
# Without PART it runs all parts, in an order that suits a first hour with a card; `list` names them. Each takes less than eight minutes.
# After each part FOLDER/report.json and FOLDER/report.txt describe all parts that were run so far. FOLDER.tar.gz holds the whole folder.
# --minutes N ends the call within N minutes (N may have a decimal). A part that is cut off then begins anew in a later call, which skips
# the parts that passed. Call it until it says that none is left.
# --build names the folder of compiled files (default: native-engine/build-gpu-check), which is kept. The reports lie elsewhere.
# --rehearse runs the parts on the emulated card of the tests, with the smallest sizes: it needs neither nvcc nor a card, and proves nothing
# about a card. A part that needs a card says so on a machine without one.
# pack builds the programs for a machine that has a card and its driver, but no toolkit and no compiler, and packs all that the check reads
# there. The file is unpacked there and the check started as above. pack says which C library and driver that machine must have.
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
all=(build device instructions ops-elementwise ops-matrix ops-attention ops-movement products step dump bench-7b-real bench-7b
  hopper hopper-bench memcheck racecheck initcheck synccheck bench-7b-rank64 bench-7b-streamed bench-7b-checkpointed resume
  bench-1b-real bench-1b bench-1b-recovery bench-mid-real bench-mid bench-factbook-real bench-factbook bench-factbook-recovery
  torch-7b torch-1b torch-mid torch-factbook)

usage() { sed -n '2,17s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
. "$tools/gpu_check/parts.sh" || exit 2
. "$tools/gpu_check/pack.sh" || exit 2
. "$tools/gpu_check/report.sh" || exit 2
while [ $# -gt 0 ]; do
  case $1 in
    --out) [ $# -ge 2 ] || { echo "--out needs a folder" >&2; exit 2; }; mkdir -p "$2" && out=$(cd "$2" && pwd) || exit 2; shift ;;
    --build) [ $# -ge 2 ] || { echo "--build needs a folder" >&2; exit 2; }; build=$2; shift ;;
    --minutes)
      [[ ${2:-} =~ ^[0-9]+(\.[0-9])?$ ]] || { echo "--minutes needs a number" >&2; exit 2; }
      minutes=$2; shift ;;
    --rehearse) rehearse=1 ;;
    -h | --help) usage; exit 0 ;;
    list) printf '%s\n' "${all[@]}"; exit 0 ;;
    pack) [ $# = 2 ] || { echo "pack needs one name, that of the file to be written" >&2; exit 2; }; packed=$2; shift ;;
    -*) echo "unknown option $1" >&2; usage >&2; exit 2 ;;
    *)
      case " ${all[*]} " in *" $1 "*) parts+=("$1") ;; *) echo "no part $1; known are: ${all[*]}" >&2; exit 2 ;; esac ;;
  esac
  shift
done
[ ${#parts[@]} -gt 0 ] || parts=("${all[@]}")
[ -n "$packed" ] || mkdir -p "$out/parts" || exit 2
cuda=ON device=cuda:0 kept=build-gpu-check portable=OFF
[ -z "$packed" ] || kept=build-gpu-pack portable=ON limit=0  # a build by hand may take its time
[ $rehearse = 0 ] || { cuda=OFF; kept=build-gpu-rehearsal; }
: "${build:=$engine/$kept}"

# The moment at which the call ends what it runs, some seconds before its minutes are over. It is empty where the call has no end.
deadline=
[ -z "$minutes" ] || deadline=$((begun + 10#${minutes%.*} * 60 + $([[ $minutes = *.* ]] && echo "${minutes#*.}" || echo 0) * 6 - 15))
# The seconds for which the part may go on; 0 stands for no end. A part that has no time left gets one second.
seconds_left() {
  [ $limit != 0 ] || { echo 0; return; }
  local now end=$((started + limit))
  now=$(date +%s)
  [ -z "$deadline" ] || [ $end -le $deadline ] || end=$deadline
  echo $((end > now ? end - now : 1))
}
# Runs a program of a part. `cut` says whose time ended it: that of the part or that of the call.
limited() { # COMMAND...
  local seconds status
  seconds=$(seconds_left)
  timeout --kill-after 5 "$seconds" "$@"
  status=$?
  if [ $status = 124 ] || [ $status = 137 ]; then
    if [ -n "$deadline" ] && [ "$(date +%s)" -ge $deadline ]; then cut=call
    elif [ $limit != 0 ] && [ "$(date +%s)" -ge $((started + limit)) ]; then cut=part; fi
  fi
  return $status
}

if [ -z "${ESPALIER_CUBLASLT:-}" ] && library=$(product_library) && [ -n "$library" ]; then export ESPALIER_CUBLASLT=$library; fi
started=$begun cut="" why=""
if [ -n "$packed" ]; then
  pack "$packed" || exit $?
  echo "packed: $packed"
  exit 0
fi
failed=0 left=()
read_statuses
export ESPALIER_REPOSITORY=$repository
for part in "${parts[@]}"; do
  if [ -n "$deadline" ]; then
    # The build is checked in each call; it takes seconds where no source changed. Parts that passed before the last build run again.
    [ $part = build ] || [ "${status_of[$part]:-}" != passed ] || [ "$out/parts/$part.json" -ot "$build/gpu_check_tests" ] || continue
    [ "$(date +%s)" -lt $deadline ] || { left+=($part); continue; }
  fi
  why="" cut=""
  started=$(date +%s)
  log=$out/parts/$part.log
  # The part does not run in a pipe, because a pipe's subshell would lose `why`.
  "part_$part" > "$log" 2>&1
  case $? in 0) status=passed ;; 3) status=skipped ;; *) status=failed ;; esac
  # A part that had too little time has found nothing wrong.
  if [ $status = failed ] && [ "$cut" = call ]; then
    status=cut why="the minutes of the call ended"
    left+=($part)
  elif [ $status = failed ] && [ "$cut" = part ]; then
    status=late why="it took over $limit s"
  fi
  case $status in failed | late) failed=1 ;; esac
  record
  report
  [ $status != failed ] || tail -n 15 "$log" | sed 's/^/    /'
done
report
verdict
[ ${#left[@]} -eq 0 ] || echo "left for another call: ${left[*]}"
echo "report: $out/report.txt, $out/report.json"
tar -czf "$out.tar.gz" -C "$(dirname "$out")" "$(basename "$out")" && echo "all of it in one file: $out.tar.gz"
exit $failed

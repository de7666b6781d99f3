#!/usr/bin/env bash
# Checks the CUDA backend on a machine with a card, from a bare checkout: a CUDA toolkit, CMake and a C++ compiler are all it needs.
#   native-engine/tools/gpu_check.sh [--out FOLDER] [--rehearse] [PART...]
# Without PART it runs all parts; `list` names them. Each takes less than eight minutes, what is built is kept, and after each part
# FOLDER/report.json and FOLDER/report.txt tell of all that were run so far. A part that needs a card says so on a machine without one.
# --rehearse runs the parts on the emulated card of the tests, with the smallest sizes: it needs neither nvcc nor a card, and proves nothing
# of one.
set -u
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
engine=$(dirname "$tools")
repository=$(dirname "$engine")
out=$PWD/gpu-check
rehearse=0
parts=()
all=(build device instructions ops-elementwise ops-matrix ops-attention ops-movement step dump resume sanitizer
  products bench-factbook bench-mid bench-1b bench-7b bench-7b-checkpointed bench-7b-streamed
  torch-factbook torch-mid torch-1b torch-7b)
limit=470

usage() { sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
while [ $# -gt 0 ]; do
  case $1 in
    --out) [ $# -ge 2 ] || { echo "--out needs a folder" >&2; exit 2; }; mkdir -p "$2" && out=$(cd "$2" && pwd) || exit 2; shift ;;
    --rehearse) rehearse=1 ;;
    -h | --help) usage; exit 0 ;;
    list) printf '%s\n' "${all[@]}"; exit 0 ;;
    -*) echo "unknown option $1" >&2; usage >&2; exit 2 ;;
    *)
      case " ${all[*]} " in *" $1 "*) parts+=("$1") ;; *) echo "no part $1; known are: ${all[*]}" >&2; exit 2 ;; esac ;;
  esac
  shift
done
[ ${#parts[@]} -gt 0 ] || parts=("${all[@]}")
mkdir -p "$out/parts" || exit 2
build=$out/build
cuda=ON device=cuda:0
[ $rehearse = 0 ] || { build=$out/build-rehearsal; cuda=OFF; }

# A part returns 0, or 1 where the check failed, or 3 where it can't be done here; `why` says so in a sentence. What it prints goes to its
# log; lines of JSON from it, to its report.
why=""
skip() { why=$1; return 3; }
json_text() { printf '"%s"' "$(printf '%s' "$1" | tr '\n\t' '  ' | sed 's/\\/\\\\/g; s/"/\\"/g')"; }

# A Python with torch, and the products' library that such a Python brings along, where the loader does not find one of the toolkit.
python_with_torch() {
  local python
  for python in ${GPU_CHECK_PYTHON:-} python3 python /usr/bin/python3; do
    "$python" -c 'import torch' 2> /dev/null && { command -v "$python"; return 0; }
  done
  return 1
}
product_library() {
  local folder
  ldconfig -p 2> /dev/null | grep -q 'libcublasLt\.so\.1[23] ' && return 0
  for python in ${GPU_CHECK_PYTHON:-} python3 python /usr/bin/python3; do
    for folder in $("$python" -c 'import sys; print("\n".join(sys.path))' 2> /dev/null); do
      for library in "$folder"/{nvidia/cu13,nvidia/cublas,torch}/lib/libcublasLt.so.1[23]; do
        [ -f "$library" ] && { echo "$library"; return 0; }
      done
    done
  done
}
if [ -z "${ESPALIER_CUBLASLT:-}" ] && library=$(product_library) && [ -n "$library" ]; then export ESPALIER_CUBLASLT=$library; fi

toolkit() { PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin:/opt/cuda/bin command -v "$1"; } # where a program of the toolkit is
needs_card() {
  [ -x "$build/list_devices" ] || { skip "nothing is built: run the part build first"; return 3; }
  local line
  line=$("$build/list_devices" | head -n 1)
  case $line in
    *'"problem":""'*) return 0 ;;
    *) skip "no card can be used: $(printf '%s' "$line" | sed 's/.*"problem":"\([^"]*\)".*/\1/')"; return 3 ;;
  esac
}

tests() { # FILTER
  needs_card || return $?
  timeout $limit "$build/gpu_check_tests" --gtest_filter="$1" || { why="some tests failed: see the log"; return 1; }
}

part_build() {
  local missing=()
  for tool in cmake c++ make; do command -v $tool > /dev/null || missing+=($tool); done
  [ $rehearse = 1 ] || toolkit nvcc > /dev/null || missing+=(nvcc)
  [ ${#missing[@]} = 0 ] || { why="missing: ${missing[*]}"; return 1; }
  cmake -S "$engine" -B "$build" -DCMAKE_BUILD_TYPE=Release -DESPALIER_GPU_CHECK=ON -DESPALIER_TESTS=OFF -DESPALIER_CUDA=$cuda &&
    timeout $limit cmake --build "$build" --parallel "${GPU_CHECK_JOBS:-$(nproc)}" \
      --target gpu_check_tests list_devices step_dump step_bench product_bench ||
    { why="the build failed or took over $limit s: what is done is kept, run it again"; return 1; }
}

part_device() {
  [ -x "$build/list_devices" ] || { skip "nothing is built: run the part build first"; return 3; }
  "$build/list_devices"
  command -v nvidia-smi > /dev/null && nvidia-smi
  needs_card
}

part_instructions() { tests 'All/Instructions.*'; }
ops() { tests "*/$1.*cuda*"; } # the emulated card's are tried elsewhere
part_ops-elementwise() { ops ElementwiseOps; }
part_ops-matrix() { ops MatrixOps; }
part_ops-attention() { ops AttentionOps; }
part_ops-movement() { ops MovementOps; }
part_step() { tests 'CudaStep.*'; }
part_resume() { tests 'Determinism.*'; }

# step_dump on the reference vectors of the repository, twice: the results must be the same bits. part_step compares them with the vectors.
part_dump() {
  needs_card || return $?
  local vectors=$repository/testdata/vectors model=$repository/testdata/models/gqa-random-tiny dtype
  for dtype in f32 bf16; do
    for time in 1 2; do
      timeout $limit "$build/step_dump" --device "$device" --model "$model" --in "$vectors/step-gqa-random-tiny.safetensors" \
        --out "$out/dump-$dtype-$time.safetensors" --dtype $dtype || { why="step_dump failed in $dtype"; return 1; }
    done
    cmp "$out/dump-$dtype-1.safetensors" "$out/dump-$dtype-2.safetensors" || { why="two runs of one step differ in $dtype"; return 1; }
    printf '{"dump":"%s","sha256":"%s"}\n' $dtype "$(sha256sum < "$out/dump-$dtype-1.safetensors" | cut -d' ' -f1)"
  done
}

part_sanitizer() {
  [ $rehearse = 0 ] || { skip "compute-sanitizer is for real cards"; return 3; }
  needs_card || return $?
  local sanitizer
  sanitizer=$(toolkit compute-sanitizer) || { skip "compute-sanitizer is not here"; return 3; }
  for tool in memcheck racecheck synccheck initcheck; do
    timeout 115 "$sanitizer" --tool $tool --error-exitcode 9 "$build/step_dump" --device "$device" --dtype bf16 \
      --model "$repository/testdata/models/gqa-random-tiny" --in "$repository/testdata/vectors/step-gqa-random-tiny.safetensors" \
      --out "$out/sanitized.safetensors" || { why="$tool found something, or took over 115 s"; return 1; }
  done
}

# The card's own products beside the library's, of every size from small to large: where the library begins to pay.
part_products() {
  needs_card || return $?
  local small=() status
  [ $rehearse = 0 ] || small=(--rows 16,64 --cols 16,64 --depth 64 --repeats 1)
  timeout $limit "$build/product_bench" --device "$device" "${small[@]}"
  status=$?
  [ $status != 3 ] || { skip "there is no cuBLASLt to compare with: see the log"; return 3; }
  [ $status = 0 ] || { why="product_bench failed or took over $limit s"; return 1; }
}

bench() { # OPTIONS...
  needs_card || return $?
  local small=()
  [ $rehearse = 0 ] || small=(--batch 1 --seq 16 --seconds 0 --product-sizes 64)
  timeout $limit "$build/step_bench" --device "$device" "$@" "${small[@]}" || { why="step_bench failed or took over $limit s"; return 1; }
}
part_bench-factbook() { bench --shape factbook-llama-3m --batch 8 --seq 128 --seconds 20 --mask-sparsity 0,0.5; }
large() { [ $rehearse = 0 ] || { skip "too large for a rehearsal"; return 3; }; }
part_bench-mid() { large && bench --shape mid --batch 16 --seq 512 --seconds 20 --mask-sparsity 0,0.5; }
part_bench-1b() { large && bench --shape 1b --batch 16 --seq 512 --seconds 30 --mask-sparsity 0,0.5; }
part_bench-7b() { large && bench --shape 7b --batch 16 --seq 512 --seconds 30 --mask-sparsity 0,0.5; }
part_bench-7b-streamed() { large && bench --shape 7b --batch 16 --seq 512 --seconds 30 --checkpoint --stream-weights; }
part_bench-7b-checkpointed() { large && bench --shape 7b --batch 16 --seq 512 --seconds 30 --mask-sparsity 0,0.5 --checkpoint; }

# The same step in PyTorch, as it is and compiled. A rehearsal runs it on the processor.
torch_step() { # OPTIONS...
  local python options=(--device cuda)
  python=$(python_with_torch) || { skip "no Python with torch is here"; return 3; }
  if [ $rehearse = 1 ]; then options=(--device cpu --batch 1 --seq 16 --seconds 0); else needs_card || return $?; fi
  for how in "" --compiled; do
    timeout $((limit / 2)) "$python" "$tools/gpu_check/torch_step.py" "$@" "${options[@]}" $how ||
      { why="PyTorch's step failed or took over $((limit / 2)) s${how:+, compiled}"; return 1; }
  done
}
part_torch-factbook() { torch_step --shape factbook-llama-3m --batch 8 --seq 128 --seconds 20; }
part_torch-mid() { large && torch_step --shape mid; }
part_torch-1b() { large && torch_step --shape 1b; }
part_torch-7b() { large && torch_step --shape 7b; }

report() {
  local file status
  {
    printf '{"rehearsal":%s,"commit":%s,"parts":[' "$([ $rehearse = 1 ] && echo true || echo false)" \
      "$(json_text "$(git -C "$repository" rev-parse HEAD 2> /dev/null || echo unknown)")"
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
    for part in "${all[@]}"; do [ ! -f "$out/parts/$part.txt" ] || cat "$out/parts/$part.txt"; done
  } > "$out/report.txt"
}

failed=0
for part in "${parts[@]}"; do
  why=""
  started=$(date +%s)
  log=$out/parts/$part.log
  # Not in a pipe: `why` must survive.
  "part_$part" > "$log" 2>&1
  case $? in 0) status=passed ;; 3) status=skipped ;; *) status=failed; failed=1 ;; esac
  seconds=$(($(date +%s) - started))
  measured=$(grep '^{.*}$' "$log" | paste -sd, -)
  printf '{"part":"%s","status":"%s","seconds":%d,"why":%s,"measured":[%s]}' "$part" $status $seconds "$(json_text "$why")" "$measured" \
    > "$out/parts/$part.json"
  line=$(printf '%-22s %-8s %4d s  %s' "$part" $status $seconds "$why")
  echo "$line" | tee "$out/parts/$part.txt"
  [ $status != failed ] || tail -n 15 "$log" | sed 's/^/    /'
  report
done
echo "report: $out/report.txt, $out/report.json"
exit $failed

#!/usr/bin/env bash
# Checks the CUDA backend on a machine with a card, from a bare checkout: a CUDA toolkit, CMake, a C++ compiler and make or Ninja are all it
# needs.
#   native-engine/tools/gpu_check.sh [--out FOLDER] [--build FOLDER] [--minutes N] [--rehearse] [PART...]
#   native-engine/tools/gpu_check.sh pack FILE.tar.gz
# Without PART it runs all parts, in an order that suits a first hour with a card; `list` names them. Each takes less than eight minutes.
# After each part FOLDER/report.json and FOLDER/report.txt describe all parts that were run so far.
# --minutes N begins no part after N minutes, and skips parts that passed in an earlier call. Call it until it says that all are done.
# --build names the folder of compiled files (default: native-engine/build-gpu-check), which is kept. The reports lie elsewhere.
# --rehearse runs the parts on the emulated card of the tests, with the smallest sizes: it needs neither nvcc nor a card, and proves nothing
# about a card. A part that needs a card says so on a machine without one.
# pack builds the programs for a machine that has a card but no toolkit and no compiler, and packs all that the check reads there. The file
# is unpacked there and the check started as above. The machine needs Linux on x86-64 and a C library no older than the one here.
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
all=(build device instructions ops-elementwise ops-matrix ops-attention ops-movement products step dump bench-7b
  hopper sanitizer bench-7b-streamed bench-7b-checkpointed resume bench-1b bench-mid bench-factbook
  torch-7b torch-1b torch-mid torch-factbook)
limit=470
begun=$(date +%s)

usage() { sed -n '2,15s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
commit() { git -C "$repository" rev-parse HEAD 2> /dev/null || echo unknown; }
programs=(gpu_check_tests list_devices step_dump step_bench product_bench)
# Packs what lies in `build` and checks that it needs no library but those of every Linux. cudart is linked in, and looks for the driver.
pack() { # FILE
  local foreign folder
  [ $rehearse = 0 ] || { echo "a rehearsal is not packed: leave --rehearse out" >&2; return 2; }
  part_build || { echo "$why" >&2; return 1; }
  for program in "${programs[@]}"; do
    foreign=$(ldd "$build/$program" | grep -vE '^\s*(linux-vdso|lib(c|m|dl|rt|pthread)\.so|/lib64/ld-linux)' || true)
    [ -z "$foreign" ] || { printf '%s needs libraries that another machine may lack:\n%s\n' "$program" "$foreign" >&2; return 1; }
  done
  folder=$(mktemp -d) || return 1
  mkdir -p "$folder/espalier/native-engine/build-gpu-check" "$folder/espalier/testdata/models" "$folder/espalier/native-engine/tools" &&
    cp -r "$tools/gpu_check.sh" "$tools/gpu_check" "$folder/espalier/native-engine/tools/" &&
    cp -r "$repository/testdata/vectors" "$folder/espalier/testdata/" &&
    cp -r "$repository/testdata/models/gqa-random-tiny" "$folder/espalier/testdata/models/" &&
    for program in "${programs[@]}"; do
      strip -o "$folder/espalier/native-engine/build-gpu-check/$program" "$build/$program" || return 1
    done &&
    printf 'commit %s, built with %s\n' "$(commit)" "$(ldd --version | head -n 1)" \
      > "$folder/espalier/native-engine/build-gpu-check/prebuilt.txt" &&
    tar -czf "$1" -C "$folder" espalier
  local status=$?
  rm -rf "$folder"
  return $status
}
while [ $# -gt 0 ]; do
  case $1 in
    --out) [ $# -ge 2 ] || { echo "--out needs a folder" >&2; exit 2; }; mkdir -p "$2" && out=$(cd "$2" && pwd) || exit 2; shift ;;
    --build) [ $# -ge 2 ] || { echo "--build needs a folder" >&2; exit 2; }; build=$2; shift ;;
    --minutes)
      case ${2:-} in '' | *[!0-9]*) echo "--minutes needs a whole number" >&2; exit 2 ;; esac
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

# A part returns 0, or 1 where the check failed, or 3 where it can't run on this machine; `why` holds the reason as a sentence. What a part
# prints goes to its log, and its lines of JSON also go to its report.
why=""
skip() { why=$1; return 3; }
json_text() { printf '"%s"' "$(printf '%s' "$1" | tr '\n\t' '  ' | sed 's/\\/\\\\/g; s/"/\\"/g')"; }

# python_with_torch prints the path of a Python that has torch. product_library prints the path of the cuBLASLt that such a Python brings
# along, where the loader does not find the toolkit's.
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

toolkit() { PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin:/opt/cuda/bin command -v "$1"; } # prints where a program of the toolkit lies
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
  timeout $limit "$build/gpu_check_tests" --gtest_filter="$1" && return 0
  why=$(grep '^  failed: ' "$log" | sed 's/^  failed: //' | head -n 3 | paste -sd, -)
  why=${why:+failed: $why}
  : "${why:=it took over $limit s, or ended before its end: see the log}"
  return 1
}

part_build() {
  if [ -f "$build/prebuilt.txt" ]; then
    cat "$build/prebuilt.txt"
    "$build/list_devices" > /dev/null || { why="the programs do not run here: $("$build/list_devices" 2>&1 | head -n 1)"; return 1; }
    return 0
  fi
  local missing=()
  for tool in cmake c++; do command -v $tool > /dev/null || missing+=($tool); done
  # A build folder that exists keeps its generator.
  local generator=()
  if command -v ninja > /dev/null; then generator=(-G Ninja); elif command -v make > /dev/null; then generator=(-G "Unix Makefiles"); else
    missing+=("make or ninja")
  fi
  [ ! -f "$build/CMakeCache.txt" ] || generator=()
  # The build reads the compiler's dependency files, which Ninja deletes unless it is told to keep them.
  local options=()
  [ $rehearse = 1 ] || toolkit nvcc > /dev/null || missing+=(nvcc)
  [ ${#missing[@]} = 0 ] || { why="missing: ${missing[*]}"; return 1; }
  # A test of this part sets another target.
  local targets=${GPU_CHECK_TARGETS:-${programs[*]}}
  cmake "${generator[@]}" -S "$engine" -B "$build" -DCMAKE_BUILD_TYPE=Release -DESPALIER_GPU_CHECK=ON -DESPALIER_TESTS=OFF \
    -DESPALIER_CUDA=$cuda -DESPALIER_PORTABLE=$portable &&
    if grep -q '^CMAKE_GENERATOR:INTERNAL=Ninja' "$build/CMakeCache.txt"; then options=(-- -d keepdepfile); fi &&
    timeout $limit cmake --build "$build" --parallel "${GPU_CHECK_JOBS:-$(nproc)}" \
      --target $targets "${options[@]}" ||
    { why="the build failed or took over $limit s: what is done is kept, run it again"; return 1; }
}

part_device() {
  [ -x "$build/list_devices" ] || { skip "nothing is built: run the part build first"; return 3; }
  "$build/list_devices"
  command -v nvidia-smi > /dev/null && nvidia-smi
  needs_card
}

part_instructions() { tests 'All/Instructions.*'; }
ops() { tests "*/$1.*cuda*"; } # the ops of the emulated card are tested elsewhere
part_ops-elementwise() { ops ElementwiseOps; }
part_ops-matrix() { ops MatrixOps; }
part_ops-attention() { ops AttentionOps; }
part_ops-movement() { ops MovementOps; }
part_step() { tests 'CudaStep.*'; }
part_resume() { tests 'Determinism.*'; }

# Runs step_dump twice on the reference vectors of the repository: both results must have the same bits. part_step compares them with the
# vectors.
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

# Looks for wrong accesses and races in steps as a run has them, with heads of LLaMA's size and enough rows for cuBLASLt.
part_sanitizer() {
  [ $rehearse = 0 ] || { skip "compute-sanitizer is for real cards"; return 3; }
  needs_card || return $?
  local sanitizer
  sanitizer=$(toolkit compute-sanitizer) || { skip "compute-sanitizer is not here"; return 3; }
  for tool in memcheck racecheck synccheck initcheck; do
    timeout 115 "$sanitizer" --tool $tool --error-exitcode 9 "$build/step_bench" --device "$device" --dtype bf16 --shape heads-128 \
      --batch 2 --seq 136 --mask-sparsity 0.5 --real --lora-rank 8 --seconds 0 --product-sizes 64 ||
      { why="$tool found something, or took over 115 s"; return 1; }
  done
}

# Tries the products' kernel for Hopper cards, which is off otherwise: products in each form that a step uses, twice a step's bits, and the
# time of a step. The part `products` compares its time with that of the library.
part_hopper() {
  [ $rehearse = 0 ] || { skip "the emulated card of a rehearsal is no Hopper card; the tests try the kernel on one"; return 3; }
  needs_card || return $?
  "$build/list_devices" | head -n 1 | grep -q 'sm_90a' || { skip "this card has not the instructions of an H100"; return 3; }
  export ESPALIER_HOPPER_PRODUCTS=on
  tests '*/MatrixOps.ProductsByShape*cuda*' && tests 'CudaStep.TwoLayersOfTheWidths*' &&
    bench --shape 7b --batch 16 --seq 512 --seconds 15 --mask-sparsity 0,0.5 --ops 10
  local status=$?
  unset ESPALIER_HOPPER_PRODUCTS
  return $status
}

# Times the card's own products and the library's in every size from small to large, to find where the library becomes faster.
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
# Runs both forms of the benchmark. The plain form compares with earlier figures. The real form is like a run: masks are sampled and learn,
# the teacher has LoRA, and hidden units close.
both() { bench "$@" && bench "$@" --real --lora-rank 64 --ops 10; }
part_bench-factbook() { both --shape factbook-llama-3m --batch 8 --seq 128 --seconds 10 --mask-sparsity 0,0.5; }
large() { [ $rehearse = 0 ] || { skip "too large for a rehearsal"; return 3; }; }
part_bench-mid() { large && both --shape mid --batch 16 --seq 512 --seconds 10 --mask-sparsity 0,0.5; }
part_bench-1b() { large && both --shape 1b --batch 16 --seq 512 --seconds 15 --mask-sparsity 0,0.5; }
part_bench-7b() { large && both --shape 7b --batch 16 --seq 512 --seconds 15 --mask-sparsity 0,0.5; }
part_bench-7b-streamed() { large && bench --shape 7b --batch 16 --seq 512 --seconds 30 --checkpoint --stream-weights --ops 10; }
part_bench-7b-checkpointed() { large && bench --shape 7b --batch 16 --seq 512 --seconds 30 --mask-sparsity 0,0.5 --checkpoint --ops 10; }

# Times the same step in PyTorch, uncompiled and compiled. A rehearsal runs it on the processor.
torch_step() { # OPTIONS...
  local python options=(--device cuda)
  python=$(python_with_torch) || { skip "no Python with torch is here"; return 3; }
  if [ $rehearse = 1 ]; then options=(--device cpu --batch 1 --seq 16 --seconds 0); else needs_card || return $?; fi
  for how in "" --compiled; do
    # A PyTorch whose compiler lacks something is compared uncompiled only.
    if [ -n "$how" ] && ! "$python" -c "$tiny_compiled" "${options[1]}" > /dev/null 2>&1; then
      why="this PyTorch can't compile: the step was timed as it is alone"
      return 0
    fi
    timeout $((limit / 2)) "$python" "$tools/gpu_check/torch_step.py" "$@" "${options[@]}" $how ||
      { why="PyTorch's step failed or took over $((limit / 2)) s${how:+, compiled}"; return 1; }
  done
}
tiny_compiled='import sys, torch; torch.compile(lambda x: (x * 2).sum())(torch.ones(8, device=sys.argv[1]))'
part_torch-factbook() { torch_step --shape factbook-llama-3m --batch 8 --seq 128 --seconds 20; }
part_torch-mid() { large && torch_step --shape mid; }
part_torch-1b() { large && torch_step --shape 1b; }
part_torch-7b() { large && torch_step --shape 7b; }

report() {
  local file status
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
    for part in "${all[@]}"; do
      if [ -f "$out/parts/$part.txt" ]; then cat "$out/parts/$part.txt"; else printf '%-22s not run\n' "$part"; fi
    done
  } > "$out/report.txt"
}

status_of() { sed -n 's/.*"status":"\([a-z]*\)".*/\1/p' "$out/parts/$1.json" 2> /dev/null; }
# The parts whose success proves that the card computes correctly. The other parts measure speed.
proof=(instructions ops-elementwise ops-matrix ops-attention ops-movement step dump resume)
verdict() {
  local part wrong=() open=() card="The card"
  [ $rehearse = 0 ] || card="The emulated card"
  for part in "${proof[@]}"; do
    case $(status_of $part) in passed) ;; failed) wrong+=($part) ;; *) open+=($part) ;; esac
  done
  if [ "$(status_of device)" = skipped ]; then
    echo "Nothing was checked: $(sed -n 's/.*"why":"\([^"]*\)".*/\1/p' "$out/parts/device.json")."
  elif [ ${#wrong[@]} -gt 0 ]; then echo "$card computes wrong results: ${wrong[*]}"
  elif [ ${#open[@]} -gt 0 ]; then echo "$card may compute right: these were not run: ${open[*]}"
  else echo "$card computes right: all checks of instructions, ops and steps passed."; fi
}

if [ -n "$packed" ]; then
  pack "$packed" || exit $?
  echo "packed: $packed"
  exit 0
fi
failed=0 left=()
export ESPALIER_REPOSITORY=$repository
for part in "${parts[@]}"; do
  if [ -n "$minutes" ]; then
    # The build is checked in each call; it takes seconds where no source changed. Parts that passed before the last build run again.
    [ $part = build ] || [ "$(status_of $part)" != passed ] || [ "$out/parts/$part.json" -ot "$build/gpu_check_tests" ] || continue
    [ $(($(date +%s) - begun)) -lt $((minutes * 60)) ] || { left+=($part); continue; }
  fi
  why=""
  started=$(date +%s)
  log=$out/parts/$part.log
  # The part does not run in a pipe, because a pipe's subshell would lose `why`.
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
report
verdict
[ ${#left[@]} -eq 0 ] || echo "left for another call: ${left[*]}"
echo "report: $out/report.txt, $out/report.json"
exit $failed

# The parts of gpu_check.sh, which reads this file. A part returns 0, or 1 where the check failed, or 3 where it can't run on this machine;
# `why` holds the reason as a sentence. What a part prints goes to its log, and its lines of JSON also go to its report.
skip() { why=$1; return 3; }
nothing_built="nothing is built: run the part build, or use programs from a machine with a compiler (gpu_check.sh pack)"

# python_with_torch prints the path of a Python that has torch.
python_with_torch() {
  local python
  for python in ${GPU_CHECK_PYTHON:-} python3 python /usr/bin/python3; do
    "$python" -c 'import torch' 2> /dev/null && { command -v "$python"; return 0; }
  done
  return 1
}
# Prints where a program of the toolkit lies. CMake asks the same places in the same order.
toolkit() { PATH=${CUDA_HOME:+$CUDA_HOME/bin:}$PATH:/usr/local/cuda/bin:/opt/cuda/bin command -v "$1"; }

# product_library prints the path of a cuBLASLt where the loader finds none by itself: that of the toolkit, or of a Python's torch.
product_library() {
  local python folder library compiler
  for folder in ${LD_LIBRARY_PATH:+${LD_LIBRARY_PATH//:/ }}; do
    for library in "$folder"/libcublasLt.so.1[23]; do [ ! -f "$library" ] || return 0; done
  done
  PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2> /dev/null | grep -q 'libcublasLt\.so\.1[23] ' && return 0
  compiler=$(toolkit nvcc)
  for folder in ${CUDA_HOME:+"$CUDA_HOME"} ${compiler:+"$(dirname "$(dirname "$(readlink -f "$compiler")")")"} /usr/local/cuda /opt/cuda; do
    for library in "$folder"/{lib64,lib,targets/x86_64-linux/lib}/libcublasLt.so.1[32]; do
      [ -f "$library" ] && { echo "$library"; return 0; }
    done
  done
  for python in ${GPU_CHECK_PYTHON:-} python3 python /usr/bin/python3; do
    for folder in $("$python" -c 'import sys; print("\n".join(sys.path))' 2> /dev/null); do
      for library in "$folder"/{nvidia/cu13,nvidia/cublas,torch}/lib/libcublasLt.so.1[32]; do
        [ -f "$library" ] && { echo "$library"; return 0; }
      done
    done
  done
}

needs_card() {
  [ -x "$build/list_devices" ] || { skip "$nothing_built"; return 3; }
  local line
  line=$("$build/list_devices" | head -n 1)
  case $line in
    *'"problem":""'*) return 0 ;;
    *) skip "no card can be used: $(printf '%s' "$line" | sed 's/.*"problem":"\([^"]*\)".*/\1/')"; return 3 ;;
  esac
}

# The tests of each part. Those of an op run on every kind of device that is registered; the emulated card has its own name, and is tested
# elsewhere.
on_card='*/cuda?_*'
declare -A tests_of=(
  [instructions]='All/Instructions.*'
  [ops-elementwise]="*/ElementwiseOps.$on_card:*/DropoutOps.$on_card"
  [ops-matrix]="*/MatrixOps.$on_card:*/WeightGradientOps.$on_card"
  [ops-attention]="*/AttentionOps.$on_card:*/CachedAttentionOps.$on_card:*/PathAttentionOps.$on_card:*/HeadNorm.$on_card"
  [ops-movement]="*/MovementOps.$on_card"
  [step]='CudaStep.*'
  [resume]='Determinism.*'
  [several-cards]='SeveralCards.*'
)
tests() { # FILTER
  needs_card || return $?
  limited "$build/gpu_check_tests" --gtest_filter="$1" && return 0
  why=$(sed -n 's/^\[  FAILED  \] \([^ ,]*\.[^ ,]*\).*/\1/p' "$log" | sort -u | head -n 3 | paste -sd, - | sed 's/,/, /g')
  why=${why:+failed: $why}
  : "${why:=it ended before its end, or ran no test: see the log}"
  return 1
}
# Prints the tests that no part runs. Such a test would prove nothing, whatever the verdict says.
tests_without_part() {
  [ -x "$build/gpu_check_tests" ] || return 0
  "$build/gpu_check_tests" --gtest_list_tests --gtest_filter="-$(IFS=:; echo "${tests_of[*]}"):*/emulated*" | sort
}

part_build() {
  if [ -f "$build/prebuilt.txt" ]; then
    cat "$build/prebuilt.txt"
    "$build/list_devices" > /dev/null || { why="the programs do not run here: $("$build/list_devices" 2>&1 | head -n 1)"; return 1; }
  else
    build_programs || return $?
  fi
  local unused
  unused=$(tests_without_part) || { why="the tests can't be listed"; return 1; }
  [ -z "$unused" ] || { printf 'no part runs:\n%s\n' "$unused"; why="no part runs $(echo "$unused" | head -n 1)"; return 1; }
}
build_programs() {
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
  local compiler="" version=13
  if [ $rehearse = 0 ]; then
    compiler=$(toolkit nvcc) && version=$("$compiler" --version | sed -n 's/.*release \([0-9]*\).*/\1/p') ||
      missing=("nvcc (CUDA toolkit 12.0 or newer)" "${missing[@]}")
  fi
  if [ ${#missing[@]} -gt 0 ]; then
    why="missing: $(printf '%s, ' "${missing[@]}" | sed 's/, $//')"
    [ -n "$packed" ] || why="$why. Where they can't be had, use programs from another machine: gpu_check.sh pack"
  elif [ "${version:-0}" -lt 12 ]; then
    why="$compiler is of CUDA ${version:-unknown}, and 12.0 is the least: name a newer toolkit's folder in CUDA_HOME"
  elif ! { mkdir -p "$build" && : >> "$build/.lock"; } 2> /dev/null; then
    why="the folder of compiled files can't be written, $build: name another one by --build"
  fi
  [ -z "$why" ] || return 3
  if command -v flock > /dev/null; then
    exec {build_lock}>> "$build/.lock"
    is_free "$build_lock" || { why="another call builds in $build: wait for its end, or name another folder by --build"; return 3; }
  fi
  # A test of this part sets another target.
  local targets=${GPU_CHECK_TARGETS:-${programs[*]}}
  cmake "${generator[@]}" -S "$engine" -B "$build" -DCMAKE_BUILD_TYPE=Release -DESPALIER_GPU_CHECK=ON -DESPALIER_TESTS=OFF \
    -DESPALIER_CUDA=$cuda -DESPALIER_PORTABLE=$portable || { why="CMake can't prepare the build: its message is in the log"; return 1; }
  if grep -q '^CMAKE_GENERATOR:INTERNAL=Ninja' "$build/CMakeCache.txt"; then options=(-- -d keepdepfile); fi
  limited cmake --build "$build" --parallel "${GPU_CHECK_JOBS:-$(nproc)}" --target $targets "${options[@]}"
  local status=$?
  [ -z "${build_lock:-}" ] || exec {build_lock}>&-
  [ $status = 0 ] && return 0
  why="a file can't be compiled: see the log"
  return 1
}

part_device() {
  [ -x "$build/list_devices" ] || { skip "$nothing_built"; return 3; }
  "$build/list_devices"
  command -v nvidia-smi > /dev/null && nvidia-smi
  needs_card || return $?
  [ $rehearse = 1 ] || why=$(doubts)
}

part_instructions() { tests "${tests_of[instructions]}"; }
part_ops-elementwise() { tests "${tests_of[ops-elementwise]}"; }
part_ops-matrix() { tests "${tests_of[ops-matrix]}"; }
part_ops-attention() { tests "${tests_of[ops-attention]}"; }
part_ops-movement() { tests "${tests_of[ops-movement]}"; }
part_step() { tests "${tests_of[step]}"; }
part_resume() { tests "${tests_of[resume]}"; }

# Runs step_dump twice on the reference vectors of the repository: both results must have the same bits. part_step compares them with the
# vectors.
part_dump() {
  needs_card || return $?
  local vectors=$repository/testdata/vectors model=$repository/testdata/models/gqa-random-tiny dtype
  for dtype in f32 bf16; do
    for time in 1 2; do
      limited "$build/step_dump" --device "$device" --model "$model" --in "$vectors/step-gqa-random-tiny.safetensors" \
        --out "$out/dump-$dtype-$time.safetensors" --dtype $dtype || { why="step_dump failed in $dtype"; return 1; }
    done
    cmp "$out/dump-$dtype-1.safetensors" "$out/dump-$dtype-2.safetensors" || { why="two runs of one step differ in $dtype"; return 1; }
    printf '{"dump":"%s","sha256":"%s"}\n' $dtype "$(sha256sum < "$out/dump-$dtype-1.safetensors" | cut -d' ' -f1)"
  done
}

# Cards that share a run: the bits of each, copies between them, and how much sooner a step ends. A step is cut into eight shards on any
# number of cards, so that all numbers compute the same.
cards_here() { "$build/list_devices" | grep -c '^{"name":"cuda.*"problem":""'; }
needs_cards() {
  needs_card || return $?
  [ "$(cards_here)" -ge 2 ] || { skip "this machine has one card"; return 3; }
}
part_several-cards() {
  needs_cards || return $?
  # Which cards are joined by NVLink, and which by PCIe.
  [ $rehearse = 1 ] || ! command -v nvidia-smi > /dev/null || nvidia-smi topo -m
  tests "${tests_of[several-cards]}"
}
on_cards() { # COUNT... -- OPTIONS...
  needs_cards || return $?
  local counts=() here count number own=$device device
  here=$(cards_here)
  while [ "$1" != -- ]; do counts+=("$1"); shift; done
  shift
  for count in "${counts[@]}"; do
    [ "$count" -le "$here" ] || continue
    device=$own
    for ((number = 1; number < count; number++)); do device+=+cuda:$number; done
    bench --batch 16 --seq 512 --micro-shards 8 --seconds 10 --mask-sparsity 0.5 --real "$@" || return $?
  done
}
part_several-cards-1b() { on_cards 1 2 4 8 -- --shape 1b --lora-rank 8; }
# Each card takes a while to get 7B's weights, so only the ends are timed.
part_several-cards-7b() {
  local most=1
  while [ $((2 * most)) -le "$(cards_here 2> /dev/null || echo 0)" ] && [ $most -lt 8 ]; do most=$((2 * most)); done
  on_cards 1 $most -- --shape 7b --lora-rank 8 && on_cards 1 $most -- --shape 7b --lora-rank 64
}

# Looks for wrong accesses and races in steps as a run has them, with heads of LLaMA's size, and enough rows for cuBLASLt.
sanitized() { # TOOL PRODUCTS: own or library
  [ $rehearse = 0 ] || { skip "compute-sanitizer is for real cards"; return 3; }
  needs_card || return $?
  local sanitizer library=()
  sanitizer=$(toolkit compute-sanitizer) || { skip "compute-sanitizer is not here"; return 3; }
  [ "$2" = library ] || library=(env ESPALIER_CUBLASLT=off)
  limited "${library[@]}" "$sanitizer" --tool "$1" --error-exitcode 9 "$build/step_bench" --device "$device" --dtype bf16 \
    --shape heads-128 --batch 2 --seq 136 --mask-sparsity 0.5 --real --lora-rank 8 --seconds 0 --product-sizes 64 ||
    { why="$1 found something, or step_bench failed under it: see the log"; return 1; }
}
part_memcheck() { sanitized memcheck own && sanitized memcheck library; }
# These tools may warn of kernels of cuBLASLt. Such a warning is not a mistake of ours.
part_racecheck() { sanitized racecheck own; }
part_initcheck() { sanitized initcheck own; }
part_synccheck() { sanitized synccheck own; }

# Times the card's own products and the library's in every size from small to large, and compares their results.
part_products() {
  needs_card || return $?
  local small=() status
  [ $rehearse = 0 ] || small=(--rows 16,64 --cols 16,64 --depth 64 --repeats 1)
  limited "$build/product_bench" --device "$device" "${small[@]}"
  status=$?
  [ $status != 3 ] || { skip "there is no cuBLASLt to compare with: see the log"; return 3; }
  [ $status = 0 ] || { why="product_bench failed: see the log"; return 1; }
}

bench() { # OPTIONS...
  needs_card || return $?
  local small=() batch=1
  case " $* " in *" --micro-shards 8 "*) batch=8 ;; esac
  [ $rehearse = 0 ] ||
    small=(--shape tiny --batch $batch --seq 8 --threads 1 --seconds 0 --mask-sparsity 0 --lora-rank 8 --product-sizes 16)
  limited "$build/step_bench" --device "$device" "$@" "${small[@]}" && return 0
  # A card with little memory is not broken.
  if grep -q '^step_bench: OUT_OF_MEMORY' "$log"; then skip "the step does not fit the memory: see the log"; return 3; fi
  why="step_bench failed: see the log"
  return 1
}
# Each shape is timed in two forms. The plain form compares with earlier figures. The real form is like a run: masks are sampled and learn,
# the teacher has LoRA, and hidden units close. Rank 8 is that of the predicted times. In a recovery all weights learn.
plain() { bench "$@" --mask-sparsity 0,0.5; }
real() { bench "$@" --mask-sparsity 0,0.5 --real --ops 10; }
large=(--batch 16 --seq 512 --seconds 15)
factbook=(--shape factbook-llama-3m --batch 8 --seq 128 --seconds 10)
part_bench-7b() { plain --shape 7b "${large[@]}"; }
part_bench-7b-real() { real --shape 7b "${large[@]}" --lora-rank 8; }
part_bench-7b-rank64() { real --shape 7b "${large[@]}" --lora-rank 64; }
part_bench-7b-streamed() { bench --shape 7b "${large[@]}" --checkpoint --stream-weights --ops 10; }
part_bench-7b-checkpointed() { plain --shape 7b "${large[@]}" --checkpoint --ops 10; }
part_bench-1b() { plain --shape 1b "${large[@]}"; }
part_bench-1b-real() { real --shape 1b "${large[@]}" --lora-rank 8; }
part_bench-1b-recovery() { bench --shape 1b "${large[@]}" --mask-sparsity 0.5 --recovery --ops 10; }
part_bench-mid() { plain --shape mid "${large[@]}"; }
part_bench-mid-real() { real --shape mid "${large[@]}" --lora-rank 8; }
part_bench-factbook() { plain "${factbook[@]}"; }
part_bench-factbook-real() { real "${factbook[@]}" --lora-rank 64; }
part_bench-factbook-recovery() { bench "${factbook[@]}" --mask-sparsity 0.5 --recovery --ops 10; }

# Times the same step in PyTorch, uncompiled and compiled. A rehearsal runs it on the processor.
torch_step() { # OPTIONS...
  local python options=(--device cuda)
  python=$(python_with_torch) || { skip "no Python with torch is here"; return 3; }
  if [ $rehearse = 1 ]; then options=(--device cpu --batch 1 --seq 16 --seconds 0); else needs_card || return $?; fi
  for how in "" --compiled; do
    # A PyTorch whose compiler lacks something is compared uncompiled only.
    if [ -n "$how" ] && ! limited "$python" -c "$tiny_compiled" "${options[1]}" > /dev/null 2>&1; then
      why="this PyTorch can't compile: the step was timed as it is alone"
      return 0
    fi
    limited "$python" "$tools/gpu_check/torch_step.py" "$@" "${options[@]}" $how ||
      { why="PyTorch's step failed${how:+, compiled}: see the log"; return 1; }
  done
}
tiny_compiled='import sys, torch; torch.compile(lambda x: (x * 2).sum())(torch.ones(8, device=sys.argv[1]))'
small_enough() { [ $rehearse = 0 ] || { skip "too large for a rehearsal"; return 3; }; }
part_torch-factbook() { torch_step --shape factbook-llama-3m --batch 8 --seq 128 --seconds 20; }
part_torch-mid() { small_enough && torch_step --shape mid; }
part_torch-1b() { small_enough && torch_step --shape 1b; }
part_torch-7b() { small_enough && torch_step --shape 7b; }

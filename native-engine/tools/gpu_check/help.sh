# How gpu_check.sh describes itself, in lines that fit a terminal of 80 columns. gpu_check.sh reads this file.
declare -A proves=(
  [build]="the programs compile, and each test belongs to a part"
  [device]="which cards are here, and what else uses them"
  [instructions]="single instructions do what the emulator does"
  [ops-elementwise]="AdamW, SwiGLU, dropout agree with plain loops in double"
  [ops-matrix]="products, LoRA, gradients agree with plain loops"
  [ops-attention]="attention and its gradient agree with plain loops"
  [ops-movement]="copies and embeddings move the right values"
  [products]="own products agree with cuBLASLt's; the times of both"
  [step]="a step agrees with reference vectors of PyTorch"
  [dump]="two runs of one step leave the same bits"
  [several-cards]="cards that share a run leave the bits of one card"
  [bench-7b-real]="time of a step of 7B as in a run, and its slowest ops"
  [bench-7b]="time of a plain step of 7B"
  [several-cards-7b]="time of a step of 7B on 1 card and on all"
  [memcheck]="no kernel reads or writes beyond its memory"
  [racecheck]="no threads race for shared memory"
  [initcheck]="no kernel reads memory that was never written"
  [synccheck]="barriers are used as they must be"
  [bench-7b-rank64]="time of a step of 7B with LoRA of rank 64"
  [bench-7b-streamed]="time of a step of 7B with streamed weights"
  [bench-7b-checkpointed]="time of a step of 7B with checkpoints"
  [resume]="a session goes on from its state in the same bits"
  [several-cards-1b]="time of a step of 1.1B on 1, 2, 4 and 8 cards"
  [bench-1b-real]="time of a step of 1.1B as in a run"
  [bench-1b]="time of a plain step of 1.1B"
  [bench-1b-recovery]="time of a step in which all weights of 1.1B learn"
  [bench-mid-real]="time of a step of 100M as in a run"
  [bench-mid]="time of a plain step of 100M"
  [bench-factbook-real]="time of a step of 3M as in a run"
  [bench-factbook]="time of a plain step of 3M"
  [bench-factbook-recovery]="time of a step in which all weights of 3M learn"
  [torch-7b]="time of the same step of 7B in PyTorch"
  [torch-1b]="time of the same step of 1.1B in PyTorch"
  [torch-mid]="time of the same step of 100M in PyTorch"
  [torch-factbook]="time of the same step of 3M in PyTorch"
)

list_parts() {
  local part
  for part in "${all[@]}"; do printf '%-23s %s\n' "$part" "${proves[$part]}"; done
}

usage() {
  cat <<'USAGE'
Checks Espalier's CUDA backend on a machine with an NVIDIA card.

  native-engine/tools/gpu_check.sh [OPTION...] [PART...]
  native-engine/tools/gpu_check.sh list
  native-engine/tools/gpu_check.sh pack FILE.tar.gz

It needs x86-64 Linux, a card of compute capability 8.0 or newer (A100,
RTX 30, H100) and its driver. A bare checkout also needs a CUDA toolkit of 12.0
or newer (only 13.0 was tried), CMake 3.20, a compiler for C++20 (g++ 12 was
tried), and make or Ninja. Nothing is downloaded.

Without PART all parts run, what matters most first:
  build, device                  what is here
  instructions, ops-*, products,
  step, dump, resume             the card computes right; the verdict rests on
                                 these
  several-cards*                 two cards and more leave the bits of one; what
                                 they gain (skipped where there is one card)
  bench-*                        time of a step, slowest ops, memory
  memcheck ... synccheck         compute-sanitizer finds nothing in a step
  torch-*                        PyTorch's time for the same step, where a
                                 Python with torch is at hand
`list` prints each part with what it proves.

How long it takes: about an hour by estimate, since no card has run it yet:
build 5 minutes, computing right 10, times 25, sanitizers and PyTorch 10 each.
A part other than `build` is ended after 470 seconds. With a card for 45 minutes
use --minutes 43, or press Ctrl-C when the time is over: the report tells of
what was run. Each part prints a line when it begins and one when it ends, and
in between each minute the last line of its log.

  --out FOLDER    where reports and logs go (default: gpu-check in the folder
                  that the call is made in). FOLDER/report.txt is for people,
                  FOLDER/report.json for programs, and FOLDER.tar.gz holds all.
  --minutes N     ends the call within N minutes, from 0.5 to 1440. A later call
                  with the same FOLDER skips what passed, and begins anew what
                  was cut off. Call until nothing is left.
  --build FOLDER  where compiled files go, which are kept (default:
                  native-engine/build-gpu-check)
  --rehearse      runs the parts at their smallest on the emulated card of the
                  tests, without a card and nvcc. It proves nothing about cards.
  -h, --help      prints this

`pack` builds the programs for a machine that has a card and its driver, but no
toolkit and no compiler, and packs all that the check reads. Unpack the file
there and start espalier/native-engine/tools/gpu_check.sh. `pack` needs nvcc and
no card, and says which C library and driver that machine must have. Its nvcc
must not be of a newer CUDA than that driver.

Exit status:
  0    parts passed, and none failed
  1    a part failed or took too long, or the card was lost or in use
  2    the call is wrong, or a file can't be written
  3    nothing was checked (or packed): no card, no compiler, or each part that
       was asked for was skipped
  4    the minutes ended before the last part: call again
  130  interrupted (143 where it was told to end)
USAGE
}

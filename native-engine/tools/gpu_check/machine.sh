# Asks the machine what gpu_check.sh has to know before and between the parts: whether there is a card, and whether reports can be written.
# gpu_check.sh reads this file.

# Prints why no card can be used, in the driver's words, or nothing if the first card can be used. Built programs ask the driver. Before
# they are built, the driver's files on the machine are the only evidence.
card_problem() {
  local line
  if [ -x "$build/list_devices" ] && line=$("$build/list_devices" 2> /dev/null | head -n 1) && [ -n "$line" ]; then
    printf '%s' "$line" | sed 's/.*"problem":"\([^"]*\)".*/\1/'
    return
  fi
  has_driver || printf 'no NVIDIA driver is loaded'
}
has_driver() {
  # Tests set another folder in place of the driver's files.
  local files=${GPU_CHECK_DRIVER_FILES:-/proc/driver/nvidia/version /dev/nvidiactl /dev/dxg} file
  for file in $files; do [ ! -e "$file" ] || return 0; done
  return 1
}
advise() { # PROBLEM
  case $1 in
    *"this build needs one for"*)
      echo "Build with a CUDA toolkit that is not newer than the driver, here or where the"
      echo "pack is made (nvidia-smi tells the driver's CUDA), or renew the driver."
      [ -f "$build/prebuilt.txt" ] || echo "A folder of compiled files keeps its toolkit: name another folder by --build." ;;
    *"is below"*) echo "The check needs a card of compute capability 8.0 or newer." ;;
    *) echo "The check needs a card and its driver: nvidia-smi must list the card."
      echo "A container must be given it (docker run --gpus all)." ;;
  esac
  [ -f "$build/prebuilt.txt" ] || {
    echo "To build here for a machine with a card:  gpu_check.sh pack FILE.tar.gz"
    echo "To try the check without a card:          gpu_check.sh --rehearse"
  }
}

# Tells whether the folder of the reports takes another MiB.
has_room() {
  head -c 1048576 /dev/zero 2> /dev/null > "$out/parts/.room" && rm -f "$out/parts/.room" && return 0
  rm -f "$out/parts/.room"
  return 1
}
# Takes the lock of an open file, unless another call holds it. On a file system without locks two calls do not see each other.
is_free() { # DESCRIPTOR
  flock -n -E 99 "$1" 2> /dev/null
  [ $? != 99 ]
}
open_out() {
  local made=0
  [ -e "$out" ] || made=1
  # A folder that a call writes to is locked, since two calls would mix their logs. The lock ends with the call, however that ends.
  { mkdir -p "$out/parts" && out=$(cd "$out" && pwd) && : >> "$out/.lock"; } 2> /dev/null ||
    refuse "the reports can't be written to $out: name another folder by --out"
  if command -v flock > /dev/null; then
    exec {lock}>> "$out/.lock"
    is_free "$lock" || refuse "another call writes to $out: wait for its end, or name another folder by --out"
  fi
  has_room && return
  [ $made = 0 ] || rm -rf "$out"
  refuse "$out has no room for reports: name another folder by --out"
}

# Prints what makes the times of a card doubtful: slices, and programs beside this one.
doubts() {
  command -v nvidia-smi > /dev/null || return 0
  local card used share mode
  nvidia-smi --query-gpu=index,memory.used,utilization.gpu,mig.mode.current --format=csv,noheader,nounits 2> /dev/null |
    while IFS=', ' read -r card used share mode _; do
      [ "$mode" != Enabled ] || echo "card $card is cut into slices (MIG), and a slice is slower than a card"
      [[ ! $used =~ ^[0-9]+$ ]] || [ "$used" -lt 1024 ] || echo "other programs hold $used MiB of card $card"
      [[ ! $share =~ ^[0-9]+$ ]] || [ "$share" -lt 10 ] || echo "other programs keep card $card busy, so times say little"
    done | paste -sd, - | sed 's/,/, /g; s/,  */, /g'
}

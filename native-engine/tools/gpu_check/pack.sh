# Packs the check for a machine without a toolkit and a compiler. gpu_check.sh reads this file.

# Prints the commit of the programs. A pack knows it from the machine that built it.
commit() {
  local packed
  packed=$(sed -n 's/^commit \([^,]*\),.*/\1/p' "$build/prebuilt.txt" 2> /dev/null)
  if [ -n "$packed" ]; then echo "$packed"; return; fi
  packed=$(git -C "$repository" rev-parse HEAD 2> /dev/null) || { echo unknown; return; }
  git -C "$repository" diff --quiet HEAD 2> /dev/null || packed="$packed with changes"
  echo "$packed"
}

# Prints the oldest version of the C library that has all symbols which the programs ask for, and the symbols that ask for it.
needed_libc() { # PROGRAM...
  objdump -T "$@" | sed -n 's/.*(\{0,1\}GLIBC_\([0-9][0-9.]*\))\{0,1\} *\(.*\)/\1 \2/p' | sort -V | uniq |
    awk '{ if ($1 != newest) { newest = $1; names = "" } names = names " " $2 } END { print newest ":" names }'
}
oldest_libc=2.35 # that of Ubuntu 22.04
is_older() { [ "$1" != "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# Packs what lies in `build` and checks that it needs no library but those of every Linux. cudart is linked in, and looks for the driver.
pack() { # FILE
  local foreign folder libc toolkit_version needs
  [ $rehearse = 0 ] || refuse "a rehearsal is not packed: leave --rehearse out"
  { : >> "$1"; } 2> /dev/null || refuse "$1 can't be written"
  [ -s "$1" ] || rm "$1"
  part_build || { local status=$?; wrapped "Nothing was packed: $why" >&2; return $status; }
  for program in "${programs[@]}"; do
    foreign=$(ldd "$build/$program" | grep -vE '^\s*(linux-vdso|lib(c|m|dl|rt|pthread)\.so|/lib64/ld-linux)' || true)
    [ -z "$foreign" ] || { printf '%s needs libraries that another machine may lack:\n%s\n' "$program" "$foreign" >&2; return 1; }
  done
  libc=$(needed_libc "${programs[@]/#/$build/}")
  toolkit_version=$("$(toolkit nvcc)" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')
  needs="x86-64 Linux with glibc ${libc%%:*} or newer (ldd --version) and an NVIDIA driver for CUDA $toolkit_version or newer (nvidia-smi)"
  is_older "$oldest_libc" "${libc%%:*}" &&
    wrapped "Ubuntu 22.04 has only glibc $oldest_libc. These functions need a newer one: ${libc#*:}" >&2
  folder=$(mktemp -d) || return 1
  mkdir -p "$folder/espalier/native-engine/build-gpu-check" "$folder/espalier/testdata/models" "$folder/espalier/native-engine/tools" &&
    cp -r "$tools/gpu_check.sh" "$tools/gpu_check" "$folder/espalier/native-engine/tools/" &&
    cp -r "$repository/testdata/vectors" "$folder/espalier/testdata/" &&
    cp -r "$repository/testdata/models/gqa-random-tiny" "$folder/espalier/testdata/models/" &&
    for program in "${programs[@]}"; do
      strip -o "$folder/espalier/native-engine/build-gpu-check/$program" "$build/$program" || return 1
    done &&
    printf 'commit %s, built with nvcc %s\nThe machine needs %s.\n' "$(commit)" "$toolkit_version" "$needs" \
      > "$folder/espalier/native-engine/build-gpu-check/prebuilt.txt" &&
    tar -czf "$1" -C "$folder" espalier
  local status=$?
  rm -rf "$folder"
  [ $status != 0 ] || wrapped "The machine needs $needs."
  return $status
}

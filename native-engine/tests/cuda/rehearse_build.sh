#!/usr/bin/env bash
# Rehearses the part "build" of tools/gpu_check.sh for one object, as if the machine had only one of the two build programs.
#   rehearse_build.sh ninja|make ENGINE FOLDER
set -eu
program=$1 engine=$2 folder=$3
object=CMakeFiles/espalier_objects.dir/core/base/error.cpp.o
rm -rf "$folder"
mkdir -p "$folder/bin"
IFS=: read -ra places <<< "$PATH"
# Where a name exists in several places, the first one wins.
for place in "${places[@]}"; do ln -s "$place"/* "$folder/bin/" 2> /dev/null || true; done
if [ "$program" = ninja ]; then
  rm -f "$folder"/bin/{make,gmake}
  target=$object
else
  rm -f "$folder/bin/ninja"
  target=core/base/error.cpp.o
fi
PATH=$folder/bin GPU_CHECK_TARGETS=$target "$engine/tools/gpu_check.sh" --rehearse --out "$folder/out" --build "$folder/build" build
[ -f "$folder/build/$object.d" ] || { echo "a build by $program leaves no $object.d, which build_id.cmake reads"; exit 1; }

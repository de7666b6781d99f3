# Writes HEADER with ESPALIER_BUILD_ID, only where it changed: a digest of what the engine is made from, and the compiler
# with its options. No path, time or version control enters, so equal sources have equal ids wherever they are built.
file(GLOB_RECURSE files RELATIVE ${ENGINE_DIR} ${ENGINE_DIR}/core/* ${ENGINE_DIR}/backends/* ${ENGINE_DIR}/addon/*)
list(APPEND files CMakeLists.txt build_id.cmake)
list(FILTER files INCLUDE REGEX "\\.(cpp|h|cmake|txt)$")
list(SORT files)
set(all "")
foreach(file IN LISTS files)
  file(SHA256 ${ENGINE_DIR}/${file} digest)
  string(APPEND all "${file} ${digest}\n")
endforeach()
string(SHA256 digest "${all}")
string(SUBSTRING ${digest} 0 12 short)
file(CONFIGURE OUTPUT ${HEADER} CONTENT "#pragma once\n#define ESPALIER_BUILD_ID \"sources ${short}, ${TOOLS}\"\n" @ONLY)

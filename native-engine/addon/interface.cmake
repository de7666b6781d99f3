# Writes SOURCE, only where it changed: the digest of the sources that decide what the addon takes and returns. When a process starts,
# load-addon.ts makes the same digest of the sources on the disk. So it notices an addon that is older than its sources.
set(all "")
foreach(folder addon core/include/espalier core/session)
  file(GLOB_RECURSE files RELATIVE ${ENGINE_DIR} ${ENGINE_DIR}/${folder}/*.h ${ENGINE_DIR}/${folder}/*.cpp)
  list(SORT files)
  foreach(file IN LISTS files)
    file(SHA256 ${ENGINE_DIR}/${file} digest)
    string(APPEND all "${file} ${digest}\n")
  endforeach()
endforeach()
string(SHA256 digest "${all}")
file(CONFIGURE OUTPUT ${SOURCE} CONTENT "// Written by interface.cmake.
extern const char* const kInterface;
const char* const kInterface = \"${digest}\";
" @ONLY)

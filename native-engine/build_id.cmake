# Writes SOURCE, only where it changed: digests of all that decides the bits of results, for the numerics fingerprint. The compiler's
# dependency files say which sources these are:
#  - the step: the sources in ROOTS, what they include of core/, and every source that lies in a folder whose headers they include (of a
#    public header, the folder of its source), with what it includes in turn;
#  - each backend: the sources in its folder and what they include.
# OBJECTS are the folders of objects. STEP_OPTIONS and OPTIONS_OF_<backend> are the compiler's. Paths, times and version control do not
# enter the digests, so equal sources have equal digests. Comments do not enter them, and neither do the inner folders of the core's parts,
# of the public headers and of kernels. So a run goes on after a build in which only these have changed.
set(depfiles "")
foreach(folder IN LISTS OBJECTS)
  file(GLOB_RECURSE found ${folder}/*.o.d)
  list(APPEND depfiles ${found})
endforeach()
if(NOT depfiles)
  message(FATAL_ERROR "no dependency files in ${OBJECTS}: Makefiles leave them; Ninja does with -d keepdepfile")
endif()

# included_by_<source>: the engine's own files that a source is made from, itself first.
set(sources "")
foreach(depfile IN LISTS depfiles)
  file(READ ${depfile} text)
  string(REGEX REPLACE "^[^:]*:" "" text "${text}")
  string(REGEX REPLACE "[\\\\ \n]+" ";" names "${text}")
  set(own "")
  foreach(name IN LISTS names)
    if(name STREQUAL "" OR (name MATCHES "^/usr/" AND NOT ENGINE_DIR MATCHES "^/usr/"))  # most names are the system's
      continue()
    endif()
    cmake_path(ABSOLUTE_PATH name BASE_DIRECTORY ${BUILD_DIR} NORMALIZE)
    cmake_path(IS_PREFIX ENGINE_DIR ${name} NORMALIZE inside)
    if(inside)
      cmake_path(RELATIVE_PATH name BASE_DIRECTORY ${ENGINE_DIR})
      if(name MATCHES "^(core|backends)/")
        list(APPEND own ${name})
      endif()
    endif()
  endforeach()
  if(own)
    list(GET own 0 source)
    if(source MATCHES "\\.(cpp|cu)$" AND EXISTS ${ENGINE_DIR}/${source})  # not one that is gone, whose object stayed
      list(APPEND sources ${source})
      list(APPEND included_by_${source} ${own})
    endif()
  endif()
endforeach()
list(REMOVE_DUPLICATES sources)
list(SORT sources)

# All files of the sources in folders that `pattern` matches.
function(files_of pattern result)
  set(files "")
  foreach(source IN LISTS sources)
    if(source MATCHES "${pattern}")
      list(APPEND files ${included_by_${source}})
    endif()
  endforeach()
  list(REMOVE_DUPLICATES files)
  list(SORT files)
  set(${result} "${files}" PARENT_SCOPE)
endfunction()

# The inner folders, as they stand in the names of files and in #include lines. A digest leaves them out of both.
file(GLOB inner_folders LIST_DIRECTORIES true RELATIVE ${ENGINE_DIR}
  ${ENGINE_DIR}/core/*/* ${ENGINE_DIR}/core/include/espalier/* ${ENGINE_DIR}/backends/*/kernels/*)
list(FILTER inner_folders EXCLUDE REGEX "^core/include/espalier$")
set(inner_includes "")
foreach(folder IN LISTS inner_folders)
  if(IS_DIRECTORY ${ENGINE_DIR}/${folder})
    string(REGEX REPLACE "^core/(include/)?|^backends/[^/]+/kernels/" "" include ${folder})
    list(APPEND inner_includes ${include})
  endif()
endforeach()

function(name_of file result)
  string(REGEX REPLACE "^(core/include/espalier|core/[^/]+|backends/[^/]+/kernels)/.*/" "\\1/" name ${file})
  set(${result} ${name} PARENT_SCOPE)
endfunction()

# Inner folders also change the order in which the layout's rules sort neighbouring lines of #include, so that they are sorted again.
function(without_inner_folders text result)
  foreach(folder IN LISTS inner_includes)
    string(REGEX REPLACE "[^/]+$" "" outer ${folder})
    string(REPLACE "#include \"${folder}/" "#include \"${outer}" text "${text}")
  endforeach()
  string(REGEX MATCHALL "(#include \"[^\n]*\n)+" blocks "${text}")
  foreach(block IN LISTS blocks)
    string(REGEX MATCHALL "[^\n]+" lines "${block}")
    list(SORT lines)
    list(JOIN lines "\n" sorted)
    string(REPLACE "${block}" "${sorted}\n" text "${text}")
  endforeach()
  set(${result} "${text}" PARENT_SCOPE)
endfunction()

# The text of a source without comments, inner folders and empty lines. A line's comment begins at the first // that does not stand in
# quotes.
function(code_of file result)
  set(quoted "\"([^\"\\\n]|\\\\.)*\"|'\"'")
  file(READ ${ENGINE_DIR}/${file} text)
  string(REGEX REPLACE "(\n(${quoted}|/[^/\"\n]|[^\"/\n])*)//[^\n]*" "\\1" text "\n${text}")
  without_inner_folders("${text}" text)
  string(REGEX REPLACE "([ \t]*\n)+" "\n" text "${text}")
  set(${result} "${text}" PARENT_SCOPE)
endfunction()

function(digest_of files options result)
  set(lines "")
  foreach(file IN LISTS files)
    name_of(${file} name)
    code_of(${file} code)
    string(SHA256 digest "${code}")
    list(APPEND lines "${name} ${digest}\n")
  endforeach()
  list(SORT lines)
  list(JOIN lines "" all)
  string(PREPEND all "${options}\n")
  string(SHA256 digest "${all}")
  string(SUBSTRING ${digest} 0 12 digest)
  set(${result} ${digest} PARENT_SCOPE)
endfunction()

# Folders are added until no file of theirs includes one of another folder.
string(REPLACE ";" "|" folders "${ROOTS}")
set(before "")
while(NOT folders STREQUAL before)
  set(before "${folders}")
  files_of("^(${folders})/" step_files)
  set(found "")
  foreach(file IN LISTS step_files)
    set(implementations ${file})
    if(file MATCHES "^core/include/")  # a public header, by its source of the same name
      cmake_path(GET file STEM stem)
      file(GLOB_RECURSE implementations RELATIVE ${ENGINE_DIR} ${ENGINE_DIR}/core/${stem}.cpp)
    endif()
    foreach(implementation IN LISTS implementations)
      if(implementation MATCHES "^core/[^/]+")
        list(APPEND found ${CMAKE_MATCH_0})
      endif()
    endforeach()
  endforeach()
  list(REMOVE_DUPLICATES found)
  list(SORT found)
  string(REPLACE ";" "|" folders "${found}")
endwhile()
digest_of("${step_files}" "${STEP_OPTIONS}" step_digest)

file(GLOB backend_folders LIST_DIRECTORIES true RELATIVE ${ENGINE_DIR}/backends ${ENGINE_DIR}/backends/*)
set(backends "")
set(backend_list "")
foreach(backend IN LISTS backend_folders)
  if(IS_DIRECTORY ${ENGINE_DIR}/backends/${backend})
    files_of("^backends/${backend}/" backend_files)
    if(backend_files)  # else it is not in this build
      digest_of("${backend_files}" "${OPTIONS_OF_${backend}}" digest)
      string(APPEND backends "    {\"${backend}\", \"${digest}\"},\n")
      list(APPEND backend_list ${backend_files})
    endif()
  endif()
endforeach()

set(all_files ${step_files} ${backend_list})
list(REMOVE_DUPLICATES all_files)
list(SORT all_files)
string(REPLACE ";" "\\n\"\n    \"" file_text "${all_files}")
file(CONFIGURE OUTPUT ${SOURCE} CONTENT "// Written by build_id.cmake.
#include \"training/build_id.h\"

namespace espalier {

const char* const kStepSources = \"${step_digest}\";
const char* const kCompiler = \"${COMPILER}\";
const std::vector<BackendSources>& backend_sources() {
  static const std::vector<BackendSources> all = {
${backends}  };
  return all;
}
const char* const kSourcesOfBits =
    \"${file_text}\\n\";

}  // namespace espalier
" @ONLY)

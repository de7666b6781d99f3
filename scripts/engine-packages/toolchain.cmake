# Debian 12's GCC, for an older C library than Debian 12's: the programs run with glibc 2.28 and later, on this processor or another one.
# main.mjs gives TRIPLE, SYSROOT (the older C library with its headers) and OLD_GLIBC (old_glibc.cpp, compiled).
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES TRIPLE SYSROOT OLD_GLIBC)
string(REGEX REPLACE "-.*" "" CMAKE_SYSTEM_PROCESSOR ${TRIPLE})
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_C_COMPILER ${TRIPLE}-gcc-12)
set(CMAKE_CXX_COMPILER ${TRIPLE}-g++-12)
set(CMAKE_SYSROOT ${SYSROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(libraries "-B${SYSROOT}/usr/lib/${TRIPLE} -L${SYSROOT}/usr/lib/${TRIPLE} -L${SYSROOT}/lib/${TRIPLE}")
set(functions "-Wl,--wrap=exp,--wrap=exp2,--wrap=log,--wrap=log2,--wrap=pow")
foreach(kind EXE MODULE SHARED)
  set(CMAKE_${kind}_LINKER_FLAGS_INIT "${libraries} -static-libstdc++ -shared-libgcc -s -Wl,--exclude-libs,ALL ${functions}")
endforeach()
# The compiler's libgcc_s.so.1 needs symbols of a newer C library than SYSROOT has. A linked program takes that of its own machine.
string(APPEND CMAKE_EXE_LINKER_FLAGS_INIT " -Wl,--allow-shlib-undefined")
set(CMAKE_C_STANDARD_LIBRARIES "${OLD_GLIBC} -lm -lpthread -ldl")
set(CMAKE_CXX_STANDARD_LIBRARIES "${OLD_GLIBC} -lm -lpthread -ldl")
# Libraries are looked for beside the program: libgomp comes with it.
set(CMAKE_BUILD_WITH_INSTALL_RPATH ON)
set(CMAKE_INSTALL_RPATH "$ORIGIN")

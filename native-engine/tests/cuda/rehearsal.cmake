# The programs of the check of a card (tools/gpu_check.sh) for its rehearsal on the emulated card (gpu-check.long.test.ts). They are made of
# what the native tests and tools are made of, so that little is compiled for them.
set(REHEARSAL ${CMAKE_BINARY_DIR}/rehearsal)
add_library(espalier_rehearsed_card OBJECT tests/cuda/registered.cpp)
target_compile_definitions(espalier_rehearsed_card PRIVATE ESPALIER_REHEARSAL ESPALIER_STAND_IN_CUBLASLT="${ESPALIER_STAND_IN_CUBLASLT}")
target_include_directories(espalier_rehearsed_card PRIVATE core core/include tests)
target_link_libraries(espalier_rehearsed_card PRIVATE espalier_cuda_emulated)
function(rehearsed name)  # the sources or objects follow
  add_executable(rehearsed_${name} ${ARGN} $<TARGET_OBJECTS:espalier_rehearsed_card>)
  target_include_directories(rehearsed_${name} PRIVATE core backends/cuda)
  target_link_libraries(rehearsed_${name} PRIVATE espalier_cuda_emulated espalier_core OpenMP::OpenMP_CXX)
  set_target_properties(rehearsed_${name} PROPERTIES OUTPUT_NAME ${name} RUNTIME_OUTPUT_DIRECTORY ${REHEARSAL})
endfunction()
rehearsed(step_dump $<TARGET_OBJECTS:step_dump>)
rehearsed(step_bench $<TARGET_OBJECTS:step_bench>)
rehearsed(list_devices tools/gpu_check/list_devices.cpp)
rehearsed(product_bench bench/product_bench.cpp)
configure_file(tests/cuda/rehearsed_tests.sh ${REHEARSAL}/gpu_check_tests COPYONLY)
file(WRITE ${REHEARSAL}/prebuilt.txt "commit of this build, with the native tests\n")

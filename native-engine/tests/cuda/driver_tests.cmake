# Tests what the program reports on machines with other drivers: the loader finds stand-ins for the driver's libraries.
function(stand_in name library)
  add_library(espalier_stand_in_${name} SHARED ${CMAKE_CURRENT_SOURCE_DIR}/tests/cuda/stand_ins/${name}.cpp)
  set_target_properties(espalier_stand_in_${name} PROPERTIES OUTPUT_NAME ${library} SUFFIX .so.1
                        LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/stand_in_${name})
  add_dependencies(espalier_tests espalier_stand_in_${name})
endfunction()
function(test_with_stand_in stand_in name test)  # further arguments: variables of the environment
  add_test(NAME CudaDriver.${name} COMMAND espalier_tests --gtest_filter=CudaDevice.${test})
  set_tests_properties(CudaDriver.${name} PROPERTIES ENVIRONMENT "LD_LIBRARY_PATH=${CMAKE_BINARY_DIR}/stand_in_${stand_in};${ARGN}")
endfunction()

stand_in(nvml nvidia-ml)
stand_in(cublaslt cublasLt)
set(ESPALIER_STAND_IN_CUBLASLT ${CMAKE_BINARY_DIR}/stand_in_cublaslt/libcublasLt.so.1)
target_compile_definitions(espalier_tests PRIVATE ESPALIER_STAND_IN_CUBLASLT="${ESPALIER_STAND_IN_CUBLASLT}")
test_with_stand_in(nvml TellsFreeMemory FreeMemoryIsAskedOfTheDriver "STAND_IN_CARD=0000:01:00.0")
if(TARGET espalier_cuda)
  stand_in(driver cuda)
  string(REGEX MATCH "^[0-9]+\\.[0-9]+" ESPALIER_CUDA_VERSION ${CMAKE_CUDA_COMPILER_VERSION})
  set(problem "ESPALIER_TEST_DRIVER_PROBLEM=the driver")
  test_with_stand_in(driver TooOld WhatTheDriverSaysIsTold STAND_IN_VERSION=11040 STAND_IN_INIT=0
                     "${problem} is for CUDA 11.4, this build needs one for ${ESPALIER_CUDA_VERSION}")
  test_with_stand_in(driver SeesNoCard WhatTheDriverSaysIsTold STAND_IN_VERSION=99000 STAND_IN_INIT=100 "${problem} sees no NVIDIA card")
endif()

# The check of a card (tools/gpu_check.sh) has no processor's backend, and names the emulated card cuda:0. Its tests must pass in this
# setting too.
function(rehearse name filter)
  add_test(NAME CudaRehearsal.${name} COMMAND espalier_tests --gtest_filter=${filter})
  set_tests_properties(CudaRehearsal.${name} PROPERTIES ENVIRONMENT "ESPALIER_REHEARSAL=1")
endfunction()
rehearse(Step CudaStep.Agrees*:CudaStep.AnEvaluation*:CudaStep.AStreamed*)
rehearse(Resume Determinism.ResumedFromItsBytes:Determinism.AnEvaluationInBetween*)

# The part "build" of that check reads the compiler's dependency files, so they must lie there after a build by either generator. One object
# shows it.
set(ESPALIER_REHEARSED ${CMAKE_BINARY_DIR}/rehearsed)
foreach(generator ninja make)
  find_program(ESPALIER_HAS_${generator} ${generator})
  if(ESPALIER_HAS_${generator})
    add_test(NAME CudaRehearsal.BuildBy_${generator} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/tests/cuda/rehearse_build.sh ${generator}
             ${CMAKE_CURRENT_SOURCE_DIR} ${ESPALIER_REHEARSED}-${generator})
  endif()
endforeach()

# Tests the check of spilled registers (backends/cuda/spills.cmake) on a report of ptxas about two kernels, one of which spills on one
# architecture.
function(test_spills name said)  # `said` is a regular expression; the lines of the table follow
  test_report(${name} report.ptxas "${said}" ${ARGN})
endfunction()
function(test_report name report said)
  set(folder ${CMAKE_BINARY_DIR}/spills)
  list(JOIN ARGN "\n" table)
  file(WRITE ${folder}/${name}.txt "# the table of a test\n${table}\n")
  add_test(NAME CudaSpills.${name}
           COMMAND ${CMAKE_COMMAND} -DREPORTS=${CMAKE_CURRENT_SOURCE_DIR}/tests/cuda/spills/${report} -DTABLE=${folder}/${name}.txt
                   -DKERNELS=${folder}/${name}.kernels -P ${CMAKE_CURRENT_SOURCE_DIR}/backends/cuda/spills.cmake)
  set_tests_properties(CudaSpills.${name} PROPERTIES PASS_REGULAR_EXPRESSION "${said}")
endfunction()

test_spills(ThoseOfTheTablePass "at most 255 registers, 1 spill[^A-Z]*$" "_Z6crowdsPf sm_80 64 the sums of two tiles")
test_spills(OneThatTheTableHasNotFails "_Z6crowdsPf sm_80 spills 64 bytes of registers, and 0 are allowed\n.*CMake Error")
test_spills(MoreThanTheTableSaysFails "_Z6crowdsPf sm_80 spills 64 bytes of registers, and 60 are allowed\n.*CMake Error"
            "_Z6crowdsPf sm_80 60 sums")
test_spills(LessThanTheTableSaysFails "_Z6crowdsPf sm_80 spills 64 bytes of registers, and the table still allows 72\n.*CMake Error"
            "_Z6crowdsPf sm_80 72 sums")
test_spills(ALineThatIsNoLongerTrueFails "_Z6crowdsPf sm_90 spills 0 bytes of registers, and the table still allows 8\n.*CMake Error"
            "_Z6crowdsPf sm_80 64 sums" "_Z6crowdsPf sm_90 8 sums")
test_spills(AKernelThatIsGoneFails "the table allows _Z4gonePf sm_80 to spill, and there is no such kernel\n.*CMake Error"
            "_Z6crowdsPf sm_80 64 sums" "_Z4gonePf sm_80 8 sums")
test_spills(ALineWithoutAReasonFails "is not a kernel, an architecture, a number of bytes and a reason\n.*CMake Error"
            "_Z6crowdsPf sm_80 64")
test_report(AWarningThatIsCalledInformationFails serialized.ptxas "ptxas warns: .*wgmma.mma_async instructions are serialized.*CMake Error")

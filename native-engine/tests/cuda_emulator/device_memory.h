// The emulator's device memory. The host holds addresses in a range without access; kernels are given those of the real memory, a
// constant further on. Buffers end at a page without access, and what they don't fill of their first page is checked.
#pragma once
#include <cstddef>
#include <cstdint>

namespace espalier::cuda::emulator {

uint64_t take_memory(uint64_t bytes);  // filled with 0xff: NaN in every format
void give_back_memory(uint64_t address);
uint64_t take_peak_bytes();  // the most that was taken at once since the last call
// The real place of bytes that lie in one live buffer. Throws Error(kInternal, "emulator") on any others.
std::byte* real_memory(uint64_t address, uint64_t bytes);
// Throws where a kernel wrote before a buffer.
void check_margins();

}  // namespace espalier::cuda::emulator

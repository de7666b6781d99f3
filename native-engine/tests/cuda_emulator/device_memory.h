// The emulator's device memory. The host holds addresses in a range without access; kernels get the addresses of the real memory, which lie
// a constant further on. A buffer ends at a page without access, and the unused bytes of its first page are checked.
#pragma once
#include <cstddef>
#include <cstdint>

namespace espalier::cuda::emulator {

uint64_t take_memory(uint64_t bytes);  // the memory is filled with 0xff, which is NaN in every format
void give_back_memory(uint64_t address);
uint64_t take_peak_bytes();  // returns the most memory that was taken at once since the last call
// Returns the real place of bytes that lie in one live buffer. Throws Error(kInternal, "emulator") for all others.
std::byte* real_memory(uint64_t address, uint64_t bytes);
// Throws where a kernel wrote in front of a buffer.
void check_margins();

}  // namespace espalier::cuda::emulator

// The use of memory, as the operating system reports it.
#pragma once
#include <cstdint>

namespace espalier {

uint64_t peak_resident_bytes();  // the most that this process has used so far
uint64_t machine_bytes();        // the most that this process could have, within the control group's limit
uint64_t available_bytes();      // free or reclaimable memory now, within the control group's limit

}  // namespace espalier

// Memory, as the operating system reports it.
#pragma once
#include <cstdint>

namespace espalier {

uint64_t peak_resident_bytes();  // high-water mark of this process
uint64_t machine_bytes();        // all that this process could have, within the control group's limit
uint64_t available_bytes();      // free or reclaimable now, within the control group's limit

}  // namespace espalier

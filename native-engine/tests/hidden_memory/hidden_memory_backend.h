// A device for tests, whose memory the host can't touch and whose queue runs as late as possible. Its ops are those of the first backend
// that is compiled in. It finds code that works only by accident where the device is the host:
//  - Addresses lie in a reserved range without access: to read or write there kills the process. The ops add a constant to reach the real
//    memory, and refuse addresses outside of a live buffer or beyond its end.
//  - Ops and uploads run only at synchronize() or download(). The process is killed where the host memory of an upload has changed by then,
//    or where a buffer is given back while the queue needs it.
#pragma once
#include <cstdint>

#include "device/registry.h"

namespace espalier::test {

inline constexpr const char* kHiddenMemory = "hidden-memory";

const BackendKind& hidden_memory_kind();

// Returns how many backward passes through a layer's attention were queued in this process.
int64_t backward_passes();

}  // namespace espalier::test

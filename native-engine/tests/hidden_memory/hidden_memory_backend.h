// A device for tests, whose memory the host can't touch and whose queue runs as late as it may. Its ops are those of the first
// backend that is compiled in. It finds what works by accident where the device is the host:
//  - Addresses lie in a reserved range without access: to read or write there kills the process. The ops add a constant to reach
//    the real memory, and refuse addresses outside of a live buffer, or beyond its end.
//  - Ops and uploads run at synchronize() or download() only. Host memory of an upload that has changed by then, and a buffer that was
//    given back while the queue needs it, kill the process.
#pragma once
#include <cstdint>

#include "device/registry.h"

namespace espalier::test {

inline constexpr const char* kHiddenMemory = "hidden-memory";

const BackendKind& hidden_memory_kind();

// How many passes back through a layer's attention were queued in this process.
int64_t backward_passes();

}  // namespace espalier::test

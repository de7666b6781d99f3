// How work is told to end before it is done.
#pragma once
#include <atomic>

namespace espalier {

// For work that runs to its end.
inline const std::atomic<bool> kNeverCancelled{false};

}  // namespace espalier

// A request to end work before it is done.
#pragma once
#include <atomic>

namespace espalier {

// A flag for work that always runs to its end.
inline const std::atomic<bool> kNeverCancelled{false};

}  // namespace espalier

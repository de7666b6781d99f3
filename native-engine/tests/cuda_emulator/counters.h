// The cost of kernels on the device, as far as it follows from their addresses: counted where a test asks for it, since it takes time.
#pragma once
#include <cstdint>
#include <map>
#include <string>

#include "block.h"

namespace espalier::cuda::emulator {

struct Counters {
  uint64_t launches = 0, blocks = 0;
  uint64_t flops = 0;            // of mma, and what kernels say by count_flops
  uint64_t global_requests = 0;  // of a warp
  uint64_t global_sectors = 0;   // of 32 bytes that they touch
  uint64_t global_bytes = 0;     // that they use of those
  uint64_t shared_requests = 0;  // of a warp, or of a part of it where lanes take more than 4 bytes
  uint64_t bank_conflicts = 0;   // turns beyond the first that a request takes
};

// Counts by the kernels' names while it lives, for launches of this thread.
class Counting {
 public:
  Counting();
  ~Counting();
  Counting(const Counting&) = delete;
  Counting& operator=(const Counting&) = delete;
  const Counters& of(const std::string& kernel) const { return all_.at(kernel); }
  const std::map<std::string, Counters>& all() const { return all_; }

 private:
  friend void begin_counting(const Shape& shape);
  std::map<std::string, Counters> all_;
};

void begin_counting(const Shape& shape);
void end_of_block();

extern thread_local Counters* counted;  // of the running kernel; nullptr: not counted
enum class Space { kGlobal, kShared };
void note_access(Space space, const void* at, uint32_t bytes, const Site& site);

inline void touch(Space space, const void* at, uint32_t bytes, const Site& site) {
  if (counted) [[unlikely]]
    note_access(space, at, bytes, site);
}
inline void note_flops(int64_t count) {
  if (counted) [[unlikely]]
    counted->flops += static_cast<uint64_t>(count);
}

}  // namespace espalier::cuda::emulator

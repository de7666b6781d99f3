// Counts what kernels cost on the device, as far as this follows from their addresses. Counting each access takes several times as long as
// the kernels, so tests ask for it, or for the launches alone.
#pragma once
#include <cstdint>
#include <map>
#include <string>

#include "blocks/block.h"

namespace espalier::cuda::emulator {

struct Counters {
  uint64_t launches = 0, blocks = 0;
  uint64_t shared_bytes = 0;     // the most that a block took, static and dynamic
  uint64_t flops = 0;            // of mma instructions, and what kernels report by count_flops
  uint64_t global_requests = 0;  // each is one request of a warp
  uint64_t global_sectors = 0;   // sectors of 32 bytes that the requests touch
  uint64_t global_bytes = 0;     // the bytes of these sectors that are used
  uint64_t shared_requests = 0;  // requests of a warp, or of a part of it where lanes take more than 4 bytes
  uint64_t bank_conflicts = 0;   // the extra turns of requests that one turn can't serve
};

enum class Details { kLaunches, kAll };

// While this object lives, it counts the launches of this thread by the kernels' names, with their shared memory, and copies on the device
// as "copy".
class Counting {
 public:
  explicit Counting(Details details = Details::kAll);
  ~Counting();
  Counting(const Counting&) = delete;
  Counting& operator=(const Counting&) = delete;
  const Counters& of(const std::string& kernel) const { return all_.at(kernel); }
  const std::map<std::string, Counters>& all() const { return all_; }

 private:
  friend void begin_counting(const Shape& shape);
  friend void note_copy(uint64_t bytes);
  Details details_;
  std::map<std::string, Counters> all_;
};

void begin_counting(const Shape& shape);
void end_of_block(uint64_t shared_bytes);
void note_copy(uint64_t bytes);

extern constinit thread_local Counters* counted;  // the counters of the running kernel; nullptr where nothing is counted
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

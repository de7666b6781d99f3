// The barriers of a running block by which threads wait for copies of boxes, or for each other (mbarrier), and these copies.
#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <vector>

#include "blocks/block.h"

namespace espalier::cuda::emulator {

class PhaseBarriers {
 public:
  void start(const void* at, unsigned arrivals);
  void arrive(const void* at, unsigned expected_bytes, const Site& site);
  void wait(const void* at, unsigned parity, const Site& site);
  // Copies at once or, where work is done late, when a thread waits for it.
  void copy(const void* at, std::function<void()> copy, unsigned bytes, const Site& site);
  bool has_copies() const;
  void clear() { all_.clear(); }
  std::string waiting() const;  // how many threads wait here, for the message of a block that is stuck

 private:
  struct Copy {
    std::function<void()> run;
    unsigned bytes;
  };
  struct One {
    unsigned arrivals = 0, missing = 0;
    int64_t bytes = 0;  // expected and not copied yet; below 0 where copies came before they were expected
    unsigned parity = 0;
    std::vector<int> waiting;  // threads
    std::deque<Copy> copies;
  };
  One& one(const void* at, const Site& site);
  void run_copies(One& barrier);
  void end_phase_if_done(One& barrier);
  std::map<const void*, One> all_;
};

PhaseBarriers& phase_barriers();  // those of the running block

// opaque: a tile map. See copy_box in backends/cuda/gpu/hopper_instructions.h.
void copy_box(void* shared, const uint64_t* opaque, int32_t row, int32_t col, const void* barrier, const Site& site);

}  // namespace espalier::cuda::emulator

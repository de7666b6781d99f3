// The products that warpgroups compute beside their threads (wgmma), as far as one warp has a part in them: it computes 16 of their 64
// rows.
//
// The factors are read from shared memory by descriptors, as the device reads them: start address, distances, permuted pieces.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "blocks/block.h"

namespace espalier::cuda::emulator {

struct GroupProduct {
  std::array<float*, kWarp> sums;  // of each lane: 128 values
  uint64_t a, b;                   // descriptors
  bool across;                     // b's rows go across the depth
  bool add;
};

// The products of one warp that are under way.
class GroupProducts {
 public:
  static constexpr int kCols = 256, kValues = kCols / 2;  // a lane has `kValues` of the sums

  // Computes the product at once, or when it is waited for. Until then the sums are NaN.
  void issue(const GroupProduct& product, int warp, bool late);
  void commit() { groups_++; }
  void wait(int pending);  // until at most `pending` of the last groups are under way
  bool empty() const { return waiting_.empty(); }
  void clear();

 private:
  // Sums that products under way add to. They reach the lanes after the last of these products.
  struct Held {
    std::array<float*, kWarp> lanes;
    std::vector<float> values;
    int products = 0;
  };
  struct Waiting {
    GroupProduct product;
    std::shared_ptr<Held> held;
    int warp, group;
  };
  std::vector<Waiting> waiting_;
  int groups_ = 0;
};

}  // namespace espalier::cuda::emulator

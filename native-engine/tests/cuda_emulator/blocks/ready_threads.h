// Which threads of a block can go on, and which of them goes on next.
#pragma once
#include <array>
#include <bit>
#include <cstdint>

#include "blocks/block.h"

namespace espalier::cuda::emulator {

class ReadyThreads {
 public:
  // Begins a block whose threads all wait. A block that failed left threads that were ready.
  void begin(uint64_t seed) {
    lanes_.fill(0);
    warps_ = 0;
    seed_ = seed;
  }

  void add(int warp, uint32_t lanes) {
    lanes_[warp] |= lanes;
    if (lanes_[warp]) warps_ |= 1u << warp;
  }

  // Takes the next thread that can go on behind thread `current`, in order from the same warp if possible. current: -1 at the beginning.
  // Returns -1 where no thread can go on.
  int take(int current) {
    if (warps_ == 0) return -1;
    int warp = static_cast<int>(static_cast<uint32_t>(current) / kWarp);
    if (current < 0 || seed_ != 0 || !(warps_ >> warp & 1)) warp = choose(warps_);
    const int lane = choose(lanes_[warp]);
    lanes_[warp] &= ~(1u << lane);
    if (lanes_[warp] == 0) warps_ &= ~(1u << warp);
    return warp * kWarp + lane;
  }

 private:
  // Returns the lowest of the bits or, where there is a seed, the first one from a random place on.
  int choose(uint32_t bits) {
    if (seed_ == 0) return std::countr_zero(bits);
    random_ = random_ * 6364136223846793005u + seed_ * 2 + 1;
    const int from = static_cast<int>(random_ >> 59);
    return (std::countr_zero(std::rotr(bits, from)) + from) % 32;
  }

  std::array<uint32_t, kMostFibers / kWarp> lanes_{};  // the ready lanes of each warp
  uint32_t warps_ = 0;                                 // the warps with ready lanes
  uint64_t seed_ = 0, random_ = 1;
};

}  // namespace espalier::cuda::emulator

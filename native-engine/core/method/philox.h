// Random numbers as a pure function of a key and a counter (espalier/base/random_words.h), so no generator's state has to be saved.
#pragma once
#include <array>
#include <cmath>
#include <cstdint>

#include "espalier/base/random_words.h"

namespace espalier {

// The use of a random number. It is part of the counter, so that no two uses share a stream.
enum class RandomStream : uint32_t {
  kHeadMask = 1,
  kIntermediateMask = 2,
  kHiddenMask = 3,
  kKvGroupMask = 4,
  kAttentionMask = 5,
  kMlpMask = 6,
  kInitHead = 16,
  kInitIntermediate = 17,
  kInitHidden = 18,
  kInitKvGroup = 19,
  kInitAttention = 20,
  kInitMlp = 21,
  kBatchOrder = 32,
  kSampling = 48,
  kRefit = 64,
  kLoraInit = 1024,       // + the index of the tensor
  kLoraWidening = 16384,  // + the index of the tensor
  kLoraDropout = 32768,   // + the number of the projection
};

// Returns four words for (seed, step, stream, index).
inline std::array<uint32_t, 4> random_words(uint64_t seed, int64_t step, uint32_t stream, int64_t index) {
  const RandomWords words = philox(random_counter(step, stream, index), seed);
  return {words.w[0], words.w[1], words.w[2], words.w[3]};
}

// Returns a number in the open interval (0, 1), with 53 bits.
inline double unit_interval(uint32_t high, uint32_t low) {
  const uint64_t bits = (static_cast<uint64_t>(high) << 32 | low) >> 12;
  return (static_cast<double>(bits) + 0.5) * 0x1p-52;
}

inline double random_uniform(uint64_t seed, int64_t step, uint32_t stream, int64_t index) {
  const auto w = random_words(seed, step, stream, index);
  return unit_interval(w[0], w[1]);
}

inline double random_normal(uint64_t seed, int64_t step, uint32_t stream, int64_t index) {
  const auto w = random_words(seed, step, stream, index);
  return std::sqrt(-2.0 * std::log(unit_interval(w[0], w[1]))) * std::cos(6.283185307179586477 * unit_interval(w[2], w[3]));
}

}  // namespace espalier

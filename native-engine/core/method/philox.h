// Philox4x32-10 (Salmon et al., 2011): random numbers as a pure function of a key and a counter, so nothing has to be saved.
#pragma once
#include <array>
#include <cmath>
#include <cstdint>

namespace espalier {

// The use of a number; part of the counter, so that no two uses share a stream.
enum class RandomStream : uint32_t {
  kHeadMask = 1,
  kIntermediateMask = 2,
  kHiddenMask = 3,
  kInitHead = 16,
  kInitIntermediate = 17,
  kInitHidden = 18,
  kBatchOrder = 32,
  kSampling = 48,
  kLoraInit = 1024,  // + index of the tensor
};

inline std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, uint64_t seed) {
  uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; round++) {
    const uint64_t a = 0xD2511F53ull * counter[0], b = 0xCD9E8D57ull * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(a)};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

// Four words for (seed, step, stream, index).
inline std::array<uint32_t, 4> random_words(uint64_t seed, int64_t step, uint32_t stream, int64_t index) {
  return philox4x32({static_cast<uint32_t>(index), static_cast<uint32_t>(static_cast<uint64_t>(index) >> 32) ^ (stream << 8),
                     static_cast<uint32_t>(step), static_cast<uint32_t>(static_cast<uint64_t>(step) >> 32) ^ (stream << 16)},
                    seed);
}

// Open interval (0, 1), 53 bits.
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

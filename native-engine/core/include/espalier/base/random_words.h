// Philox4x32-10 (Salmon et al., 2011) for the host and for devices: random words as a pure function of a key and a counter.
#pragma once
#include <cstdint>

#if defined(__CUDACC__)
#define ESPALIER_ON_DEVICES __host__ __device__
#else
#define ESPALIER_ON_DEVICES
#endif

namespace espalier {

struct RandomWords {
  uint32_t w[4];
};

inline constexpr int kPhiloxRounds = 10;

ESPALIER_ON_DEVICES inline void philox_round(uint32_t& c0, uint32_t& c1, uint32_t& c2, uint32_t& c3, uint32_t key0, uint32_t key1) {
  const uint64_t a = uint64_t{0xD2511F53u} * c0, b = uint64_t{0xCD9E8D57u} * c2;
  c0 = static_cast<uint32_t>(b >> 32) ^ c1 ^ key0;
  c1 = static_cast<uint32_t>(b);
  c2 = static_cast<uint32_t>(a >> 32) ^ c3 ^ key1;
  c3 = static_cast<uint32_t>(a);
}

ESPALIER_ON_DEVICES inline void next_philox_key(uint32_t& key0, uint32_t& key1) {
  key0 += 0x9E3779B9u;
  key1 += 0xBB67AE85u;
}

// Returns the counter of (step, stream, index).
ESPALIER_ON_DEVICES inline RandomWords random_counter(int64_t step, uint32_t stream, int64_t index) {
  return {{static_cast<uint32_t>(index), static_cast<uint32_t>(static_cast<uint64_t>(index) >> 32) ^ (stream << 8),
           static_cast<uint32_t>(step), static_cast<uint32_t>(static_cast<uint64_t>(step) >> 32) ^ (stream << 16)}};
}

ESPALIER_ON_DEVICES inline RandomWords philox(RandomWords c, uint64_t seed) {
  uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < kPhiloxRounds; round++) {
    philox_round(c.w[0], c.w[1], c.w[2], c.w[3], key0, key1);
    next_philox_key(key0, key1);
  }
  return c;
}

}  // namespace espalier

// Measures the best rates that a device reaches, beside the steps: products, copies, and lines of memory that go between threads.
#pragma once
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string>
#include <vector>

#include "device/backend.h"

namespace espalier::bench {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// Makes values in (-2, 2) as bf16, or as the halves of f32 values. A card is slower where many bits change, so a peak is measured on such
// data.
inline std::vector<uint16_t> random_bf16(size_t count) {
  std::vector<uint16_t> values(count);
  uint64_t state = 1;
  for (uint16_t& v : values) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    const auto bits = static_cast<uint16_t>(state >> 48);
    v = static_cast<uint16_t>((bits & 0x807f) | (0x78 + (bits >> 7 & 7)) << 7);  // any sign and fraction, exponents from -7 to 0
  }
  return values;
}

// Returns the highest rate in FLOPs a second of a square-ish product of this dtype: the best of a few shapes and runs.
inline double matmul_peak(const std::string& dtype, Backend* backend, const std::vector<int64_t>& sizes) {
  const DType t = dtype == "f32" ? DType::kF32 : DType::kBF16;
  double best = 0;
  for (const int64_t n : sizes) {
    const std::vector<uint16_t> values = random_bf16(static_cast<size_t>(n * n) * 2);
    const DeviceBuffer in = backend->allocate(values.size() * 2), out = backend->allocate(values.size() * 2);
    upload_now<uint16_t>(*backend, in.data().as<uint16_t>(), values);
    Product product;
    product.c = {out.data(), t, n, n, n};
    product.transposed = product.by_shape = true;
    product.add({in.data(), t, n, n, n}, {{in.data(), t, n, n}, n, n, nullptr, nullptr});
    for (int run = 0; run < 20; run++) {
      const auto start = Clock::now();
      backend->run(product);
      backend->synchronize();
      best = std::max(best, 2.0 * n * n * n / seconds_since(start));
    }
  }
  return best;
}

// Returns how many bytes a copy on the device reads and writes in a second, the best of a few runs.
inline double copy_rate(Backend* backend, uint64_t bytes) {
  const DeviceBuffer from = backend->allocate(bytes), to = backend->allocate(bytes);
  const auto cols = static_cast<int64_t>(bytes / 1024 / sizeof(float));
  double best = 0;
  for (int run = 0; run < 10; run++) {
    const auto start = Clock::now();
    backend->run(Copy{{to.data(), DType::kF32, 1024, cols, cols}, {from.data(), DType::kF32, 1024, cols, cols}});
    backend->synchronize();
    best = std::max(best, 2.0 * static_cast<double>(bytes) / seconds_since(start));
  }
  return best;
}

// Returns the nanoseconds in which a line of memory goes to another thread's core and back: about 50 where the two cores share a cache, and
// several times that where they don't. Steps become slower with it. It may change while a virtual machine runs.
inline double thread_round_trip_ns(int threads) {
  constexpr int kRounds = 300;
  std::atomic<int> turn{0};
  double seconds = 0;
#pragma omp parallel num_threads(threads)
  {
    const int me = omp_get_thread_num();
    const int rounds = me < 2 && omp_get_num_threads() > 1 && omp_get_num_procs() > 1 ? kRounds : 0;
    const auto start = Clock::now();
    for (int i = 0; i < rounds; i++) {
      while (turn.load(std::memory_order_acquire) != 2 * i + me) {
      }
      turn.store(2 * i + me + 1, std::memory_order_release);
    }
    if (me == 0) seconds = seconds_since(start);
  }
  return seconds / kRounds * 1e9;
}

}  // namespace espalier::bench

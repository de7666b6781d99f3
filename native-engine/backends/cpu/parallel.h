// Divides work over the threads. Only the counts decide which thread does what.
#pragma once
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace espalier::cpu {

struct Range {
  int64_t begin, end;
};

// Returns part `index` of `parts` of [0, count), cut at multiples of `grain`.
inline Range part_of(int64_t count, int64_t parts, int64_t index, int64_t grain = 1) {
  const int64_t units = (count + grain - 1) / grain;
  return {std::min(count, units * index / parts * grain), std::min(count, units * (index + 1) / parts * grain)};
}

// Calls f(part, range) for each non-empty part, one part on each thread.
template <class F>
void parallel_parts(int threads, int64_t count, int64_t grain, F&& f) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int part = 0; part < threads; part++) {
    const Range r = part_of(count, threads, part, grain);
    if (r.begin < r.end) f(part, r);
  }
}

// Calls f(part) once on each thread.
template <class F>
void parallel_all(int threads, F&& f) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int part = 0; part < threads; part++) f(part);
}

// Calls f(item, thread) for each item. Items write to separate places, so the bits don't depend on the thread. Where the threads divide the
// runs of `together` items evenly, each run stays with the thread that has its tokens.
template <class F>
void parallel_items(int threads, int64_t count, int64_t together, F&& f) {
  if (count % (threads * together) == 0)
    return parallel_parts(threads, count, together, [&](int part, Range r) {
      for (int64_t item = r.begin; item < r.end; item++) f(item, part);
    });
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (int64_t item = 0; item < count; item++) f(item, omp_get_thread_num());
}

// A barrier at which `size` threads of a parallel pass meet. They arrive within microseconds, so they spin before they sleep.
struct alignas(64) Barrier {
  int64_t size = 1;
  std::atomic<uint32_t> round{0};
  std::atomic<int64_t> come{0};

  void wait() {
    const uint32_t now = round.load(std::memory_order_relaxed);
    if (come.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
      come.store(0, std::memory_order_relaxed);
      round.store(now + 1, std::memory_order_release);
      round.notify_all();
      return;
    }
    for (int i = 0; i < 2000; i++) {
      if (round.load(std::memory_order_acquire) != now) return;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
    while (round.load(std::memory_order_acquire) == now) round.wait(now, std::memory_order_acquire);
  }
};

}  // namespace espalier::cpu

// Static cutting of work over the threads: which thread does what depends on nothing but the counts.
#pragma once
#include <omp.h>

#include <algorithm>
#include <cstdint>

namespace espalier::cpu {

struct Range {
  int64_t begin, end;
};

// Part `index` of `parts` of [0, count), cut at multiples of `grain`.
inline Range part_of(int64_t count, int64_t parts, int64_t index, int64_t grain = 1) {
  const int64_t units = (count + grain - 1) / grain;
  return {std::min(count, units * index / parts * grain), std::min(count, units * (index + 1) / parts * grain)};
}

// f(part, range) for each non-empty part, one part a thread.
template <class F>
void parallel_parts(int threads, int64_t count, int64_t grain, F&& f) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int part = 0; part < threads; part++) {
    const Range r = part_of(count, threads, part, grain);
    if (r.begin < r.end) f(part, r);
  }
}

// f(part) once on each thread.
template <class F>
void parallel_all(int threads, F&& f) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int part = 0; part < threads; part++) f(part);
}

// f(item, thread) for each item. Items write to places of their own, so whoever does one leaves the same bits.
template <class F>
void parallel_items(int threads, int64_t count, F&& f) {
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (int64_t item = 0; item < count; item++) f(item, omp_get_thread_num());
}

}  // namespace espalier::cpu

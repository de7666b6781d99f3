// Lets several threads work on many items, in chunks whose limits do not depend on the number of threads.
#pragma once
#include <algorithm>
#include <cstdint>

namespace espalier {

// A chunk of this number of gates takes about 0.1 ms, so that waking a thread pays.
inline constexpr int64_t kGatesTogether = 4096;

// Calls f(begin, end) for each chunk of [0, count). A chunk must write only to places of its own, so that the bits do not depend on the
// thread that runs it. The number of threads is the one that Backend::attach_thread() gave the calling thread.
template <class F>
void in_chunks(int64_t count, int64_t together, const F& f) {
  const int64_t chunks = (count + together - 1) / together;
#pragma omp parallel for schedule(dynamic, 1) if (chunks > 1)
  for (int64_t i = 0; i < chunks; i++) f(i * together, std::min(count, (i + 1) * together));
}

// Calls f(i) for each i of [0, count), in chunks of `together` items.
template <class F>
void for_each_in_chunks(int64_t count, int64_t together, const F& f) {
  in_chunks(count, together, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) f(i);
  });
}

}  // namespace espalier

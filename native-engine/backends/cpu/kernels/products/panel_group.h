// Panels that are packed together, and the rows that they are multiplied by.
#pragma once
#include <array>

#include "tile.h"

namespace espalier::cpu::ESPALIER_ISA {

inline constexpr int kMostSpans = 6;  // the most terms of a product

// The part of one term's summed dimension that the current pass multiplies.
struct Span {
  const uint32_t* a;
  int64_t lda, words;  // counted in words of 32 bits
};

// Columns that are packed together. Their vectors are divided among `count` panels whose widths differ by at most one vector. A panel for
// products in vector registers has up to 4 vectors, and 5 vectors become panels of 3 and 2, so that none is much narrower than the others.
// A panel for matrix tiles has 2 vectors; if the number of vectors is odd, the last panel has 1.
struct PanelGroup {
  std::array<Span, kMostSpans> spans;
  int span_count = 0;
  int64_t words = 0;  // the words of all spans as they are packed
  const uint32_t* panels = nullptr;
  int64_t columns = 0, vectors = 0, count = 0;

  int64_t panel_vectors(int64_t i) const { return vectors / count + (i < vectors % count); }
  int64_t first_vector(int64_t i) const { return vectors / count * i + (i < vectors % count ? i : vectors % count); }
};

// Writes one vector of words into a panel. A write of a line that other cores will read bypasses the caches where a vector is a whole line,
// so that it need not wait for the cores that still hold the line's old content.
template <bool kShared>
static inline void put_words(uint32_t* to, vu words) {
#if defined(__AVX512F__)
  if constexpr (kShared) return _mm512_stream_si512(reinterpret_cast<__m512i*>(to), (__m512i)words);
#endif
  std::memcpy(to, &words, sizeof words);
}

// Writes one vector of a row's sums, of which the first `count` belong to the result: c (+)= sums * scale.
template <class C>
static inline __attribute__((always_inline)) void write_sums(vf sums, C* c, const float* scale, bool accumulate, int64_t count) {
  if (count >= W) {
    if (scale) sums *= load(scale);
    if (accumulate) sums += load(c);
    store(c, sums);
  } else if (count > 0) {
    if (scale) sums *= load_part(scale, count);
    if (accumulate) sums += load_part(c, count);
    store_part(c, sums, count);
  }
}

}  // namespace espalier::cpu::ESPALIER_ISA

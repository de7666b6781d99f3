// Panels that are packed together, and the rows that they are multiplied by.
#pragma once
#include "products/panel.h"

#if defined(__AVX512BF16__)
namespace espalier::cpu::ESPALIER_ISA {

inline constexpr int kMostSpans = 6;  // the most terms of a product

// The part of one term's summed dimension that the current pass multiplies.
struct Span {
  const uint32_t* a;
  int64_t lda, words;  // counted in words of 32 bits
};

// Columns that are packed together. Their vectors are divided among `count` panels whose widths differ by at most one vector. A panel for
// products of pairs has up to 4 vectors, and 5 vectors become panels of 3 and 2, so that none is much narrower than the others. A panel for
// matrix tiles has 2 vectors; if the number of vectors is odd, the last panel has 1.
struct PanelGroup {
  std::array<Span, kMostSpans> spans;
  int span_count = 0;
  int64_t words = 0;  // the words of all spans as they are packed
  const uint32_t* panels = nullptr;
  int64_t columns = 0, vectors = 0, count = 0;

  int64_t panel_vectors(int64_t i) const { return vectors / count + (i < vectors % count); }
  int64_t first_vector(int64_t i) const { return vectors / count * i + (i < vectors % count ? i : vectors % count); }
};

// Writes the sums of one row and 16 columns, of which `lanes` are there: c (+)= sums * scale. Only f32 is added to.
template <class C>
static inline __attribute__((always_inline)) void write_sums(__m512 sums, C* c, const float* scale, bool accumulate, __mmask16 lanes) {
  if (scale) sums = _mm512_mul_ps(sums, _mm512_maskz_loadu_ps(lanes, scale));
  if constexpr (sizeof(C) == 4) {
    if (accumulate) sums = _mm512_add_ps(sums, _mm512_maskz_loadu_ps(lanes, c));
    _mm512_mask_storeu_ps(c, lanes, sums);
  } else {
    _mm256_mask_storeu_epi16(c, lanes, (__m256i)_mm512_cvtneps_pbh(sums));
  }
}

}  // namespace espalier::cpu::ESPALIER_ISA
#endif

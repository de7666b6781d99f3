// Large bf16 products by instructions that multiply pairs of bf16 and add them to sums in f32, in vector registers.
#pragma once
#include <type_traits>

#include "products/panel_group.h"

#if defined(__AVX512BF16__)
namespace espalier::cpu::ESPALIER_ISA {

// With kAhead it prefetches one line from `ahead` on for each word of the tile.
template <int kRows, int kVectors, bool kAhead, class C>
static inline __attribute__((always_inline)) void product_tile(const PanelGroup& g, const uint32_t* b, int64_t row, C* c, int64_t ldc,
                                                               const float* scale, bool accumulate, __mmask16 last, const uint32_t* ahead) {
  // Prefetches the lines of the results while this tile is multiplied.
  for (int i = 0; i < kRows; i++)
    for (int v = 0; v < kVectors * 16 * static_cast<int>(sizeof(C)); v += 64)
      __builtin_prefetch(reinterpret_cast<char*>(c + i * ldc) + v, 1);
  __m512 acc[kRows][kVectors];
  for (int i = 0; i < kRows; i++)
    for (int v = 0; v < kVectors; v++) acc[i][v] = _mm512_setzero_ps();
  for (int s = 0; s < g.span_count; s++) {
    const Span span = g.spans[s];
    const uint32_t* a = span.a + row * span.lda;
    for (int64_t k = 0; k < span.words; k++, b += kVectors * 16) {
      if constexpr (kAhead) {
        _mm_prefetch(ahead, _MM_HINT_T1);
        ahead += 16;
      }
      __m512bh bk[kVectors];
      for (int v = 0; v < kVectors; v++) bk[v] = (__m512bh)_mm512_loadu_si512(b + v * 16);
      for (int i = 0; i < kRows; i++) {
        const __m512bh ak = (__m512bh)_mm512_set1_epi32(static_cast<int>(a[i * span.lda + k]));
        for (int v = 0; v < kVectors; v++) acc[i][v] = _mm512_dpbf16_ps(acc[i][v], ak, bk[v]);
      }
    }
  }
  for (int i = 0; i < kRows; i++) {
    C* to = c + i * ldc;
    for (int v = 0; v < kVectors; v++) {
      const __mmask16 lanes = v == kVectors - 1 ? last : static_cast<__mmask16>(0xffff);
      write_sums(acc[i][v], to + v * 16, scale ? scale + v * 16 : nullptr, accumulate, lanes);
    }
  }
}

// Multiplies rows [row, row + rows) by one panel. ahead: the next panel, which is prefetched meanwhile.
template <int kVectors, bool kAhead, class C>
static void product_panel(const PanelGroup& g, const uint32_t* panel, int64_t row, int64_t rows, C* c, int64_t ldc, const float* scale,
                          bool accumulate, __mmask16 last, const uint32_t* ahead) {
  constexpr int kRows = kVectors == 4 ? 6 : kVectors == 3 ? 8 : 12;
  int64_t i = 0;
  for (; i + kRows <= rows; i += kRows, ahead += kAhead ? g.words * 16 : 0)
    product_tile<kRows, kVectors, kAhead>(g, panel, row + i, c + i * ldc, ldc, scale, accumulate, last, ahead);
  for (; i + 4 <= rows; i += 4) product_tile<4, kVectors, false>(g, panel, row + i, c + i * ldc, ldc, scale, accumulate, last, nullptr);
  for (; i + 2 <= rows; i += 2) product_tile<2, kVectors, false>(g, panel, row + i, c + i * ldc, ldc, scale, accumulate, last, nullptr);
  for (; i < rows; i++) product_tile<1, kVectors, false>(g, panel, row + i, c + i * ldc, ldc, scale, accumulate, last, nullptr);
}

// Multiplies pairs of bf16 in vector registers.
class PairProducts {
 public:
  static constexpr int64_t kDepth = 1;  // spans are packed as multiples of this number of words
  static constexpr int64_t kPanelVectors = 4;
  static constexpr int64_t kBlockRows = 24;  // a multiple of the tile heights of all panel widths

  // Multiplies at most kBlockRows rows by all panels of a group, so that the rows stay in near caches. c: the group's first column. At the
  // first rows the panels are not in near caches yet, so each is prefetched while the panel before it is in use.
  template <class C>
  void block(const PanelGroup& g, int64_t row, int64_t rows, C* c, int64_t ldc, const float* scale, bool accumulate) {
    for (int64_t i = 0; i < g.count; i++) {
      const int64_t begin = g.first_vector(i), vectors = g.panel_vectors(i);
      const uint32_t *panel = g.panels + begin * g.words * 16,
                     *next = row == 0 && i + 1 < g.count ? panel + vectors * g.words * 16 : nullptr;
      const __mmask16 last = first_lanes(g.columns - (begin + vectors - 1) * 16);
      const auto pass = [&](auto width) {
        const auto rows_pass = [&](auto fetch) {
          product_panel<width.value, fetch.value>(g, panel, row, rows, c + begin * 16, ldc, scale ? scale + begin * 16 : nullptr,
                                                  accumulate, last, next);
        };
        next ? rows_pass(std::true_type{}) : rows_pass(std::false_type{});
      };
      if (vectors == 4)
        pass(std::integral_constant<int, 4>{});
      else if (vectors == 3)
        pass(std::integral_constant<int, 3>{});
      else if (vectors == 2)
        pass(std::integral_constant<int, 2>{});
      else
        pass(std::integral_constant<int, 1>{});
    }
  }
};

}  // namespace espalier::cpu::ESPALIER_ISA
#endif

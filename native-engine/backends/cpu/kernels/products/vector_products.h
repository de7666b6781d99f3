// Large products in vector registers: of f32, or of pairs of bf16 that an instruction multiplies and adds to sums in f32.
#pragma once
#include <type_traits>

#include "products/float_panel.h"
#include "products/pair_panel.h"

namespace espalier::cpu::ESPALIER_ISA {

inline constexpr int kParts = 16 / W;  // the registers of 16 columns

static inline void prefetch_panel(const uint32_t* line) { __builtin_prefetch(line, 0, 2); }

// With kAhead it prefetches one line from `ahead` on for each word of the tile.
template <class Words, int kRows, int kVectors, bool kAhead, class C>
static inline __attribute__((always_inline)) void product_tile(const PanelGroup& g, const uint32_t* b, int64_t row, C* c, int64_t ldc,
                                                               const float* scale, bool accumulate, int64_t columns,
                                                               const uint32_t* ahead) {
  constexpr int kRegisters = kVectors * kParts;
  // Prefetches the lines of the results while this tile is multiplied.
  for (int i = 0; i < kRows; i++)
    for (int v = 0; v < kVectors * 16 * static_cast<int>(sizeof(C)); v += 64)
      __builtin_prefetch(reinterpret_cast<char*>(c + i * ldc) + v, 1);
  vf acc[kRows][kRegisters];
  for (int i = 0; i < kRows; i++)
    for (int v = 0; v < kRegisters; v++) acc[i][v] = vf{};
  for (int s = 0; s < g.span_count; s++) {
    const Span span = g.spans[s];
    const uint32_t* a = span.a + row * span.lda;
    for (int64_t k = 0; k < span.words; k++, b += kVectors * 16) {
      if constexpr (kAhead) {
        prefetch_panel(ahead);
        ahead += 16;
      }
      vu bk[kRegisters];
      for (int v = 0; v < kRegisters; v++) bk[v] = load_raw<vu>(b + v * W);
      for (int i = 0; i < kRows; i++)
        for (int v = 0; v < kRegisters; v++) acc[i][v] = Words::multiply_add(acc[i][v], a[i * span.lda + k], bk[v]);
    }
  }
  for (int i = 0; i < kRows; i++) {
    C* to = c + i * ldc;
    for (int v = 0; v < kRegisters; v++) write_sums(acc[i][v], to + v * W, scale ? scale + v * W : nullptr, accumulate, columns - v * W);
  }
}

// Multiplies rows [row, row + rows) by one panel. ahead: the next panel, which is prefetched meanwhile.
template <class Words, int kVectors, bool kAhead, class C>
static void product_panel(const PanelGroup& g, const uint32_t* panel, int64_t row, int64_t rows, C* c, int64_t ldc, const float* scale,
                          bool accumulate, int64_t columns, const uint32_t* ahead) {
  constexpr int kRows = W == 4 && kVectorRegisters == 16 ? 3 : W < 16 ? 6 : kVectors == 4 ? 6 : kVectors == 3 ? 8 : 12;
  const auto tile = [&](auto height, auto fetch, int64_t i) {
    product_tile<Words, height.value, kVectors, fetch.value>(g, panel, row + i, c + i * ldc, ldc, scale, accumulate, columns, ahead);
  };
  int64_t i = 0;
  for (; i + kRows <= rows; i += kRows, ahead += kAhead ? g.words * 16 : 0)
    tile(std::integral_constant<int, kRows>{}, std::bool_constant<kAhead>{}, i);
  if constexpr (kRows > 4)
    for (; i + 4 <= rows; i += 4) tile(std::integral_constant<int, 4>{}, std::false_type{}, i);
  for (; i + 2 <= rows; i += 2) tile(std::integral_constant<int, 2>{}, std::false_type{}, i);
  for (; i < rows; i++) tile(std::integral_constant<int, 1>{}, std::false_type{}, i);
}

// Multiplies words in vector registers.
template <class TheWords, class ThePacking>
class VectorProducts {
 public:
  using Packing = ThePacking;
  static constexpr int64_t kDepth = 1;  // spans are packed as multiples of this number of words
  static constexpr int64_t kPanelVectors = W == 16 ? 4 : 1;
  static constexpr int64_t kBlockRows = 24;  // a multiple of the tile heights of all panel widths

  // Multiplies at most kBlockRows rows by all panels of a group, so that the rows stay in near caches. c: the group's first column. At the
  // first rows the panels are not in near caches yet, so each is prefetched while the panel before it is in use.
  template <class C>
  void block(const PanelGroup& g, int64_t row, int64_t rows, C* c, int64_t ldc, const float* scale, bool accumulate) {
    for (int64_t i = 0; i < g.count; i++) {
      const int64_t begin = g.first_vector(i), vectors = g.panel_vectors(i);
      const uint32_t *panel = g.panels + begin * g.words * 16,
                     *next = row == 0 && i + 1 < g.count ? panel + vectors * g.words * 16 : nullptr;
      const int64_t columns = g.columns - begin * 16 < vectors * 16 ? g.columns - begin * 16 : vectors * 16;
      const auto pass = [&](auto width) {
        const auto rows_pass = [&](auto fetch) {
          product_panel<TheWords, width.value, fetch.value>(g, panel, row, rows, c + begin * 16, ldc, scale ? scale + begin * 16 : nullptr,
                                                            accumulate, columns, next);
        };
        next ? rows_pass(std::true_type{}) : rows_pass(std::false_type{});
      };
      if constexpr (kPanelVectors == 4) {
        if (vectors == 4) pass(std::integral_constant<int, 4>{});
        if (vectors == 3) pass(std::integral_constant<int, 3>{});
        if (vectors == 2) pass(std::integral_constant<int, 2>{});
      }
      if (vectors == 1) pass(std::integral_constant<int, 1>{});
    }
  }
};

using FloatProducts = VectorProducts<F32Words, FloatPacking>;
#if defined(__AVX512BF16__)
using PairProducts = VectorProducts<Bf16Words, PairPacking>;
#else
using PairProducts = FloatProducts;
#endif

}  // namespace espalier::cpu::ESPALIER_ISA

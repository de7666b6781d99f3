// Large matrix products in bf16: c (+)= a b or a b^T, for processors that multiply pairs of bf16.
//
// Panels of up to 64 columns of b are packed into a thread's cache, as words of two consecutive values of the summed dimension, and stay
// there while all rows of a pass are multiplied by them. Rows of a have the form of such words already. A width is only a loop count: no
// code is generated for a shape, and packing costs one load of b for 2 * rows multiply-adds.
#pragma once
#include <type_traits>

#include "panel.h"

namespace espalier::cpu::ESPALIER_ISA {

// A deeper panel does not fit into the second-level cache, so f32 results are summed in several passes.
inline constexpr int64_t kPanelDepth = 4608;  // a round width of models and what LoRA adds to it
inline constexpr int64_t kGroupBytes = int64_t{544} << 10;

// Returns how many vectors of 16 columns are packed at a time: they fill half of a common second-level cache, but make at least one panel.
static int64_t group_vectors(int64_t depth) {
  const int64_t fitting = kGroupBytes / 32 / (depth > 0 ? depth : 1);
  return fitting > 4 ? fitting : 4;
}

// Returns the bytes of the panels that one thread packs at a time, for sums of this length into `c`; the panels have at least `whole`
// columns.
static uint64_t product_panel_bytes(int64_t depth, DType c, int64_t whole) {
  const int64_t part = c == DType::kF32 && depth > kPanelDepth && whole == 0 ? kPanelDepth : depth;
  const int64_t least = (whole + 15) / 16, vectors = group_vectors(part);
  return static_cast<uint64_t>((part + 2) * (vectors > least ? vectors : least)) * 32;
}

#if defined(__AVX512BF16__)

// The part of one term's summed dimension that the current pass multiplies.
struct Span {
  const uint32_t* a;
  int64_t lda, words;  // counted in words of 32 bits
};

// Columns that are packed together, in panels of 4 vectors or, so that no panel is narrow, of 3.
struct PanelGroup {
  std::array<Span, 6> spans;
  int span_count = 0;
  int64_t words = 0;  // the words of all spans
  const uint32_t* panels = nullptr;
  int64_t columns = 0, vectors = 0, count = 0;

  int64_t panel_vectors(int64_t i) const { return vectors / count + (i < vectors % count); }
  int64_t first_vector(int64_t i) const { return vectors / count * i + (i < vectors % count ? i : vectors % count); }
};

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
      __m512 sum = acc[i][v];
      if (scale) sum = _mm512_mul_ps(sum, _mm512_maskz_loadu_ps(lanes, scale + v * 16));
      if constexpr (sizeof(C) == 4) {
        if (accumulate) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(lanes, to + v * 16));
        _mm512_mask_storeu_ps(to + v * 16, lanes, sum);
      } else {
        _mm256_mask_storeu_epi16(to + v * 16, lanes, (__m256i)_mm512_cvtneps_pbh(sum));
      }
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

// Multiplies at most kBlockRows rows by all panels of a group, so that the rows stay in near caches. c: the group's first column. first:
// the panels are not in near caches yet, so each is prefetched while the panel before it is in use.
template <class C>
static void product_block(const PanelGroup& g, int64_t row, int64_t rows, C* c, int64_t ldc, const float* scale, bool accumulate,
                          bool first) {
  for (int64_t i = 0; i < g.count; i++) {
    const int64_t begin = g.first_vector(i), vectors = g.panel_vectors(i);
    const uint32_t *panel = g.panels + begin * g.words * 16, *next = first && i + 1 < g.count ? panel + vectors * g.words * 16 : nullptr;
    const __mmask16 last = first_lanes(g.columns - (begin + vectors - 1) * 16);
    const auto pass = [&](auto width) {
      const auto rows_pass = [&](auto fetch) {
        product_panel<width.value, fetch.value>(g, panel, row, rows, c + begin * 16, ldc, scale ? scale + begin * 16 : nullptr, accumulate,
                                                last, next);
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

static int64_t product_words(const Product& op) {
  int64_t words = 0;
  for (int t = 0; t < op.count; t++) words += op.terms[t].a.cols / 2;
  return words;
}

// Makes the group of the columns [begin, end) and the words [from, to) of the summed dimension. This thread packs its share: a part of the
// stored rows, whether these are columns of the result or the summed dimension.
template <bool kShared>
static PanelGroup pack_share(const Product& op, int64_t first_row, int64_t begin, int64_t end, int64_t from, int64_t to, uint32_t* panels,
                             const Team& team) {
  PanelGroup g;
  g.panels = panels;
  g.columns = end - begin;
  g.vectors = (g.columns + 15) / 16;
  g.count = (g.vectors + 3) / 4;
  const auto share = [&](int64_t count, int64_t index) { return count * index / team.size; };
  int64_t passed = 0;
  for (int t = 0; t < op.count; t++) {
    const ProductTerm& term = op.terms[t];
    const int64_t words = term.a.cols / 2, first = from > passed ? from - passed : 0, last = to - passed < words ? to - passed : words;
    passed += words;
    if (first >= last) continue;
    g.spans[g.span_count++] = {reinterpret_cast<const uint32_t*>(row_ptr<bf16>(term.a, first_row)) + first, term.a.stride / 2,
                               last - first};
    const int64_t own = share(last - first, team.index), own_end = share(last - first, team.index + 1);
    for (int64_t i = 0; i < g.count; i++) {
      const int64_t at = g.first_vector(i), vectors = g.panel_vectors(i),
                    count = g.columns - at * 16 < vectors * 16 ? g.columns - at * 16 : vectors * 16;
      uint32_t* panel = panels + (at * (to - from) + g.words * vectors) * 16;
      if (!op.transposed) {
        pack_panel_rows<kShared>(term.b, begin + at * 16, count, 2 * (first + own), own_end - own, vectors, panel + own * vectors * 16);
        continue;
      }
      for (int64_t v = 0; v < vectors; v++)
        if (at + v >= share(g.vectors, team.index) && at + v < share(g.vectors, team.index + 1))
          pack_vector_transposed<kShared>(term.b, begin + (at + v) * 16, count - v * 16, 2 * first, last - first, vectors * 16,
                                          panel + v * 16);
    }
    g.words += last - first;
  }
  return g;
}

// Packs this thread's share of a group and waits for the other threads. While a group is in use, the next one is packed into other memory.
static PanelGroup pack_group(const Product& op, int64_t first_row, int64_t begin, int64_t end, int64_t from, int64_t to, uint32_t* panels,
                             Team& team) {
  if (team.size == 1) return pack_share<false>(op, first_row, begin, end, from, to, panels, team);
  const PanelGroup g = pack_share<true>(op, first_row, begin, end, from, to, panels + team.groups++ % 2 * team.room, team);
  _mm_sfence();  // the lines that were written past the caches are visible to the other threads
  team.wait(team.barrier);
  return g;
}

// Calls f(begin, end) for groups of the columns [begin, end), which are as equal as multiples of `grain` columns allow.
template <class F>
static void for_groups(int64_t begin, int64_t end, int64_t depth, int64_t grain, F&& f) {
  const int64_t units = (end - begin + grain - 1) / grain, fitting = group_vectors(depth) * 16 / grain;
  const int64_t groups = fitting > 0 ? (units + fitting - 1) / fitting : units;  // a unit may be wider than what fits
  for (int64_t i = 0; i < groups; i++) {
    const int64_t last = begin + units * (i + 1) / groups * grain;
    f(begin + units * i / groups * grain, last < end ? last : end);
  }
}

template <class C>
static void product_of(const Product& op, Tensor c, int64_t first_row, int64_t begin, int64_t end, uint32_t* panels, Team& team) {
  const int64_t words = product_words(op), passes = sizeof(C) == 4 ? (2 * words + kPanelDepth - 1) / kPanelDepth : 1;
  for_groups(begin, end, (2 * words + passes - 1) / passes, 16, [&](int64_t from, int64_t to) {
    for (int64_t pass = 0; pass < passes; pass++) {
      const PanelGroup g = pack_group(op, first_row, from, to, words * pass / passes, words * (pass + 1) / passes, panels, team);
      for (int64_t row = 0; row < c.rows; row += kBlockRows)
        product_block(g, row, c.rows - row < kBlockRows ? c.rows - row : kBlockRows, row_ptr<C>(c, row) + (from - begin), c.stride,
                      op.column_scale ? host(op.column_scale) + from : nullptr, op.accumulate || pass > 0, row == 0);
    }
  });
}

// Returns true where this kernel can compute the product: every a has whole words, and no sum is added to bf16.
static bool product_fits(const Product& op) {
  for (int t = 0; t < op.count; t++) {
    const Tensor& a = op.terms[t].a;
    if (a.dtype != DType::kBF16 || a.cols % 2 != 0 || a.stride % 2 != 0 || a.data.address() % 4 != 0) return false;
  }
  return !(op.accumulate && op.c.dtype != DType::kF32);
}

// Computes columns [begin, end) of the product, for the rows from first_row on, into c, whose first row and column are first_row and begin.
// panels: 64-byte aligned.
static void product(const Product& op, Tensor c, int64_t first_row, int64_t begin, int64_t end, uint32_t* panels, Team& team) {
  with_compute_type(c.dtype, [&](auto t) { product_of<decltype(t)>(op, c, first_row, begin, end, panels, team); });
}

#else

static bool product_fits(const Product&) { return false; }
static void product(const Product&, Tensor, int64_t, int64_t, int64_t, uint32_t*, Team&) {}

#endif

}  // namespace espalier::cpu::ESPALIER_ISA

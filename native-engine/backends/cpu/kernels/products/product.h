// Large matrix products: c (+)= a b or a b^T, in f32 (FloatProducts) and, where the processor multiplies pairs of bf16, in bf16, by vectors
// (PairProducts) or by matrix tiles (MatrixTiles).
//
// Panels of up to 64 columns of b are packed into a thread's cache, as words of one f32 or of two consecutive bf16 of the summed dimension,
// and stay there while all rows of a pass are multiplied by them. Rows of a have the form of such words already. A width is only a loop
// count: no code is generated for a shape, and packing costs one load of b for 2 * rows multiply-adds.
#pragma once
#include "products/matrix_tiles.h"
#include "products/vector_products.h"

namespace espalier::cpu::ESPALIER_ISA {

// A deeper panel does not fit into the second-level cache, so f32 results are summed in several passes.
inline constexpr int64_t kPanelWords = 2304;  // a round width of models and what LoRA adds to it
inline constexpr int64_t kGroupBytes = int64_t{W == 16 ? 544 : 272} << 10;

// Returns how many vectors of 16 columns are packed at a time: they fill half of a common second-level cache, but make at least one panel.
static int64_t group_vectors(int64_t words) {
  const int64_t fitting = kGroupBytes / 64 / (words > 0 ? words : 1);
  return fitting > 4 ? fitting : 4;
}

template <class Multiplier>
static int64_t product_words(const Product& op) {
  int64_t words = 0;
  for (int t = 0; t < op.count; t++) words += op.terms[t].a.cols / Multiplier::Packing::kPair;
  return words;
}

template <class Multiplier>
static int64_t filled_words(int64_t words) {
  return (words + Multiplier::kDepth - 1) / Multiplier::kDepth * Multiplier::kDepth;
}

// Makes the group of the columns [begin, end) and the words [from, to) of the summed dimension. This thread packs its share: a part of the
// stored rows, whether these are columns of the result or the summed dimension. Each span is filled up with words of zeros.
template <class Multiplier, bool kShared>
static PanelGroup pack_share(const Product& op, int64_t first_row, int64_t begin, int64_t end, int64_t from, int64_t to, uint32_t* panels,
                             const Team& team) {
  using Packing = typename Multiplier::Packing;
  constexpr int64_t kPair = Packing::kPair;
  PanelGroup g;
  g.panels = panels;
  g.columns = end - begin;
  g.vectors = (g.columns + 15) / 16;
  g.count = (g.vectors + Multiplier::kPanelVectors - 1) / Multiplier::kPanelVectors;
  std::array<const Selection*, kMostSpans> stored{};
  std::array<int64_t, kMostSpans> firsts{};
  int64_t passed = 0;
  for (int t = 0; t < op.count; t++) {
    const ProductTerm& term = op.terms[t];
    const int64_t words = term.a.cols / kPair, first = from > passed ? from - passed : 0, last = to - passed < words ? to - passed : words;
    passed += words;
    if (first >= last) continue;
    stored[g.span_count] = &term.b;
    firsts[g.span_count] = first;
    const int64_t lda = term.a.stride / kPair;
    g.spans[g.span_count++] = {reinterpret_cast<const uint32_t*>(term.a.data.address()) + first_row * lda + first, lda, last - first};
    g.words += filled_words<Multiplier>(last - first);
  }
  const auto share = [&](int64_t count, int64_t index) { return count * index / team.size; };
  int64_t before = 0;
  for (int s = 0; s < g.span_count; s++) {
    const int64_t words = g.spans[s].words, filled = filled_words<Multiplier>(words), first = firsts[s];
    const int64_t own = share(words, team.index), own_end = share(words, team.index + 1);
    for (int64_t i = 0; i < g.count; i++) {
      const int64_t at = g.first_vector(i), vectors = g.panel_vectors(i),
                    count = g.columns - at * 16 < vectors * 16 ? g.columns - at * 16 : vectors * 16;
      uint32_t* panel = panels + (at * g.words + before * vectors) * 16;
      if (!op.transposed) {
        Packing::template rows<kShared>(*stored[s], begin + at * 16, count, kPair * (first + own), own_end - own, vectors,
                                        panel + own * vectors * 16);
        if (own_end == words) std::memset(panel + words * vectors * 16, 0, (filled - words) * vectors * 64);
        continue;
      }
      for (int64_t v = 0; v < vectors; v++)
        if (at + v >= share(g.vectors, team.index) && at + v < share(g.vectors, team.index + 1))
          Packing::template turned<kShared>(*stored[s], begin + (at + v) * 16, count - v * 16, kPair * first, words, filled, vectors * 16,
                                            panel + v * 16);
    }
    before += filled;
  }
  return g;
}

// Packs this thread's share of a group and waits for the other threads. While a group is in use, the next one is packed into other memory.
template <class Multiplier>
static PanelGroup pack_group(const Product& op, int64_t first_row, int64_t begin, int64_t end, int64_t from, int64_t to, uint32_t* panels,
                             Team& team) {
  if (team.size == 1) return pack_share<Multiplier, false>(op, first_row, begin, end, from, to, panels, team);
  const PanelGroup g = pack_share<Multiplier, true>(op, first_row, begin, end, from, to, panels + team.groups++ % 2 * team.room, team);
#if defined(__AVX512F__)
  _mm_sfence();  // the lines whose writes bypassed the caches are visible to the other threads
#endif
  team.wait(team.barrier);
  return g;
}

// Calls f(begin, end) for groups of the columns [begin, end), which are as equal as multiples of `grain` columns allow.
template <class F>
static void for_groups(int64_t begin, int64_t end, int64_t words, int64_t grain, F&& f) {
  const int64_t units = (end - begin + grain - 1) / grain, fitting = group_vectors(words) * 16 / grain;
  const int64_t groups = fitting > 0 ? (units + fitting - 1) / fitting : units;  // a unit may be wider than what fits
  for (int64_t i = 0; i < groups; i++) {
    const int64_t last = begin + units * (i + 1) / groups * grain;
    f(begin + units * i / groups * grain, last < end ? last : end);
  }
}

template <class C, class Multiplier>
static void product_of(Multiplier& multiplier, const Product& op, Tensor c, int64_t first_row, int64_t begin, int64_t end, uint32_t* panels,
                       Team& team) {
  const int64_t words = product_words<Multiplier>(op), passes = sizeof(C) == 4 ? (words + kPanelWords - 1) / kPanelWords : 1;
  for_groups(begin, end, (words + passes - 1) / passes, 16, [&](int64_t from, int64_t to) {
    for (int64_t pass = 0; pass < passes; pass++) {
      const PanelGroup g =
          pack_group<Multiplier>(op, first_row, from, to, words * pass / passes, words * (pass + 1) / passes, panels, team);
      for (int64_t row = 0; row < c.rows; row += Multiplier::kBlockRows)
        multiplier.block(g, row, c.rows - row < Multiplier::kBlockRows ? c.rows - row : Multiplier::kBlockRows,
                         row_ptr<C>(c, row) + (from - begin), c.stride, op.column_scale ? host(op.column_scale) + from : nullptr,
                         op.accumulate || pass > 0);
    }
  });
}

// Returns true where every a is made of whole pairs, which the processor multiplies.
static bool pairs_fit(const Product& op) {
#if defined(__AVX512BF16__)
  for (int t = 0; t < op.count; t++) {
    const Tensor& a = op.terms[t].a;
    if (a.dtype != DType::kBF16 || a.cols % 2 != 0 || a.stride % 2 != 0 || a.data.address() % 4 != 0) return false;
  }
  return true;
#else
  (void)op;
  return false;
#endif
}

static bool product_fits(const Product& op) {
  if (pairs_fit(op)) return true;
  for (int t = 0; t < op.count; t++)
    if (op.terms[t].a.dtype != DType::kF32) return false;
  return true;
}

// Calls f with the multiplier of a product that fits.
template <class Pairs, class F>
static void with_multiplier(const Product& op, F&& f) {
  if (pairs_fit(op)) {
    Pairs multiplier;
    f(multiplier);
  } else {
    FloatProducts multiplier;
    f(multiplier);
  }
}

// Computes columns [begin, end) of the product, for the rows from first_row on, into c, whose first row and column are first_row and begin.
// panels: 64-byte aligned.
template <class Pairs>
static void product(const Product& op, Tensor c, int64_t first_row, int64_t begin, int64_t end, uint32_t* panels, Team& team) {
  with_multiplier<Pairs>(op, [&](auto& multiplier) {
    with_compute_type(c.dtype, [&](auto t) { product_of<decltype(t)>(multiplier, op, c, first_row, begin, end, panels, team); });
  });
}

// Returns the bytes of the panels that one thread packs at a time, for sums of this length into `c`; the panels have at least `whole`
// columns. Each of the sum's terms may be filled up to whole steps of the multiplier.
template <class Multiplier>
static uint64_t panel_bytes(int64_t depth, DType c, int64_t whole) {
  const int64_t words = (depth + Multiplier::Packing::kPair - 1) / Multiplier::Packing::kPair,
                part = c == DType::kF32 && words > kPanelWords && whole == 0 ? kPanelWords : words;
  const int64_t least = (whole + 15) / 16, vectors = group_vectors(part);
  return static_cast<uint64_t>((part + 1 + (Multiplier::kDepth - 1) * kMostSpans) * (vectors > least ? vectors : least)) * 64;
}

template <class Pairs>
static uint64_t product_panel_bytes(DType a, int64_t depth, DType c, int64_t whole) {
  return a == DType::kBF16 ? panel_bytes<Pairs>(depth, c, whole) : panel_bytes<FloatProducts>(depth, c, whole);
}

}  // namespace espalier::cpu::ESPALIER_ISA

// Large matrix products in bf16: c (+)= a b or a b^T, for processors that multiply pairs of bf16.
//
// A panel of up to 64 columns of b is packed into a thread's cache, as words of two consecutive values of the summed dimension,
// and stays there while all rows of a pass by. Rows of a are such words as they lie. A width is only a loop count: nothing is
// generated for a shape, and packing costs one load of b for 2 * rows multiply-adds.
#pragma once
#include "panel.h"

namespace espalier::cpu::ESPALIER_ISA {

inline constexpr int64_t kPanelColumns = 64;
// Beyond this depth a panel leaves the second-level cache, so f32 results are summed up in several passes.
inline constexpr int64_t kPanelDepth = 4608;  // and what LoRA adds to the round numbers of models
inline constexpr int64_t kGroupBytes = int64_t{544} << 10;

// How many columns are packed at a time: half of a common second-level cache, one panel at least.
static int64_t group_columns(int64_t depth) {
  const int64_t fitting = kGroupBytes / 2 / (depth > 0 ? depth : 1) / kPanelColumns * kPanelColumns;
  return fitting > kPanelColumns ? fitting : kPanelColumns;
}

// What one thread packs at a time for sums of this length into `c`.
static uint64_t product_panel_bytes(int64_t depth, DType c) {
  const int64_t part = c == DType::kF32 && depth > kPanelDepth ? kPanelDepth : depth;
  return static_cast<uint64_t>((part + 2) * group_columns(part)) * 2;
}

#if defined(__AVX512BF16__)

// The summed dimension of one term, as far as the current pass goes.
struct Span {
  const uint32_t* a;
  int64_t lda, words;  // of 32 bits
};

// What one panel's tiles have in common.
struct PanelRun {
  std::array<Span, 6> spans;
  int span_count = 0;
  int64_t words = 0;   // of all spans
  const uint32_t* panel;
  char* c;
  int64_t ldc;
  const float* scale;  // of the panel's columns; nullptr: ones
  __mmask16 last;      // lanes of the last vector that exist
  bool accumulate;
};

template <int kRows, int kVectors, class C>
static inline __attribute__((always_inline)) void product_tile(const PanelRun& p, int64_t row) {
  const uint32_t* b = p.panel;
  // The results' lines and the next rows of a are under way while this tile is multiplied.
  for (int i = 0; i < kRows; i++)
    for (int v = 0; v < kVectors * 16 * static_cast<int>(sizeof(C)); v += 64)
      __builtin_prefetch(p.c + (row + i) * p.ldc * static_cast<int64_t>(sizeof(C)) + v, 1);
  __m512 acc[kRows][kVectors];
  for (int i = 0; i < kRows; i++)
    for (int v = 0; v < kVectors; v++) acc[i][v] = _mm512_setzero_ps();
  for (int s = 0; s < p.span_count; s++) {
    const Span span = p.spans[s];
    const uint32_t* a = span.a + row * span.lda;
    for (int64_t k = 0; k < span.words; k++, b += kVectors * 16) {
      __m512bh bk[kVectors];
      for (int v = 0; v < kVectors; v++) bk[v] = (__m512bh)_mm512_loadu_si512(b + v * 16);
      for (int i = 0; i < kRows; i++) {
        const __m512bh ak = (__m512bh)_mm512_set1_epi32(static_cast<int>(a[i * span.lda + k]));
        for (int v = 0; v < kVectors; v++) acc[i][v] = _mm512_dpbf16_ps(acc[i][v], ak, bk[v]);
      }
    }
  }
  for (int i = 0; i < kRows; i++) {
    C* c = reinterpret_cast<C*>(p.c) + (row + i) * p.ldc;
    for (int v = 0; v < kVectors; v++) {
      const __mmask16 lanes = v == kVectors - 1 ? p.last : static_cast<__mmask16>(0xffff);
      __m512 sum = acc[i][v];
      if (p.scale) sum = _mm512_mul_ps(sum, _mm512_maskz_loadu_ps(lanes, p.scale + v * 16));
      if constexpr (sizeof(C) == 4) {
        if (p.accumulate) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(lanes, c + v * 16));
        _mm512_mask_storeu_ps(c + v * 16, lanes, sum);
      } else {
        _mm256_mask_storeu_epi16(c + v * 16, lanes, (__m256i)_mm512_cvtneps_pbh(sum));
      }
    }
  }
}

// Rows of a while they are near pass by all panels, so that they are fetched once for the whole group.
template <int kVectors, class C>
static void product_panels(PanelRun p, int64_t panels, int64_t rows) {
  constexpr int kRows = kVectors == 4 ? 6 : kVectors == 3 ? 8 : kVectors == 2 ? 12 : 16;
  const uint32_t* panel = p.panel;
  char* c = p.c;
  const float* scale = p.scale;
  const auto tiles = [&]<int kCount>(int64_t row) {
    for (int64_t i = 0; i < panels; i++) {
      p.panel = panel + i * p.words * kPanelColumns;
      p.c = c + i * kPanelColumns * static_cast<int64_t>(sizeof(C));
      if (scale) p.scale = scale + i * kPanelColumns;
      product_tile<kCount, kVectors, C>(p, row);
    }
  };
  int64_t row = 0;
  for (; row + kRows <= rows; row += kRows) tiles.template operator()<kRows>(row);
  for (; row + 4 <= rows; row += 4) tiles.template operator()<4>(row);
  for (; row < rows; row++) tiles.template operator()<1>(row);
}

// What one thread makes: rows and columns of a product, into `c`, whose first row and column these are.
struct ProductTask {
  const Product& op;
  Tensor c;
  int64_t first_row, begin, end;  // rows: as many as c has
};

static int64_t product_words(const Product& op) {
  int64_t words = 0;
  for (int t = 0; t < op.count; t++) words += op.terms[t].a.cols / 2;
  return words;
}

// Columns [begin, end) and of the summed dimension the words [from, to); either several panels of full width or one.
template <class C>
static void product_group(const ProductTask& task, int64_t begin, int64_t end, int64_t from, int64_t to, uint32_t* panel) {
  const Product& op = task.op;
  const int64_t panels = (end - begin + kPanelColumns - 1) / kPanelColumns;
  const int64_t count = panels > 1 ? kPanelColumns : end - begin, vectors = (count + 15) / 16;
  PanelRun p;
  int64_t passed = 0;
  for (int t = 0; t < op.count; t++) {
    const ProductTerm& term = op.terms[t];
    const int64_t words = term.a.cols / 2, first = from > passed ? from - passed : 0, last = to - passed < words ? to - passed : words;
    passed += words;
    if (first >= last) continue;
    p.spans[p.span_count++] = {reinterpret_cast<const uint32_t*>(row_ptr<bf16>(term.a, task.first_row)) + first, term.a.stride / 2, last - first};
    for (int64_t i = 0; i < panels; i++)
      (op.transposed ? pack_panel_transposed : pack_panel_rows)(term.b, begin + i * kPanelColumns, count, 2 * first, last - first, vectors,
                                                                panel + (i * (to - from) + p.words) * vectors * 16);
    p.words += last - first;
  }
  p.panel = panel;
  p.c = reinterpret_cast<char*>(row_ptr<C>(task.c, 0) + (begin - task.begin));
  p.ldc = task.c.stride;
  p.scale = op.column_scale ? op.column_scale + begin : nullptr;
  p.last = first_lanes(count - (vectors - 1) * 16);
  p.accumulate = op.accumulate || from > 0;
  if (vectors == 4) product_panels<4, C>(p, panels, task.c.rows);
  else if (vectors == 3) product_panels<3, C>(p, panels, task.c.rows);
  else if (vectors == 2) product_panels<2, C>(p, panels, task.c.rows);
  else product_panels<1, C>(p, panels, task.c.rows);
}

template <class C>
static void product_of(const ProductTask& task, uint32_t* panel) {
  const int64_t words = product_words(task.op);
  const int64_t passes = sizeof(C) == 4 ? (2 * words + kPanelDepth - 1) / kPanelDepth : 1;
  const int64_t group = group_columns((2 * words + passes - 1) / passes);
  for (int64_t j = task.begin; j < task.end;) {
    // A last panel that is not full comes alone.
    const int64_t left = task.end - j, full = left / kPanelColumns * kPanelColumns;
    const int64_t columns = full == 0 ? left : full < group ? full : group;
    for (int64_t pass = 0; pass < passes; pass++)
      product_group<C>(task, j, j + columns, words * pass / passes, words * (pass + 1) / passes, panel);
    j += columns;
  }
}

// Whether this kernel can do it: whole words in every a, and no sum into bf16.
static bool product_fits(const Product& op) {
  for (int t = 0; t < op.count; t++) {
    const Tensor& a = op.terms[t].a;
    if (a.dtype != DType::kBF16 || a.cols % 2 != 0 || a.stride % 2 != 0 || reinterpret_cast<uintptr_t>(a.data) % 4 != 0) return false;
  }
  return !(op.accumulate && op.c.dtype != DType::kF32);
}

// Rows from first_row on and columns [begin, end) of the product into c, whose first row and column these are. panel: 64-byte aligned.
static void product(const Product& op, Tensor c, int64_t first_row, int64_t begin, int64_t end, uint32_t* panel) {
  with_compute_type(c.dtype, [&](auto t) { product_of<decltype(t)>({op, c, first_row, begin, end}, panel); });
}

#else

static bool product_fits(const Product&) { return false; }
static void product(const Product&, Tensor, int64_t, int64_t, int64_t, uint32_t*) {}

#endif

}  // namespace espalier::cpu::ESPALIER_ISA

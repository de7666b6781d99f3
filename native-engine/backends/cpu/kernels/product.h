// Large matrix products in bf16: c (+)= a b or a b^T, for processors that multiply pairs of bf16.
//
// A panel of up to 64 columns of b is packed into a thread's cache, as words of two consecutive values of the summed dimension,
// and stays there while all rows of a pass by. Rows of a are such words as they lie. A width is only a loop count: nothing is
// generated for a shape, and packing costs one load of b for 2 * rows multiply-adds.
#pragma once
#include "tile.h"

namespace espalier::cpu::ESPALIER_ISA {

inline constexpr int64_t kPanelColumns = 64;
// Beyond this depth a panel leaves the second-level cache, so f32 results are summed up in several passes.
inline constexpr int64_t kPanelDepth = 4096;
inline constexpr int64_t kGroupBytes = int64_t{512} << 10;

// How many columns are packed at a time: half a megabyte of a common second-level cache, one panel at least.
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

static inline __mmask16 first_lanes(int64_t n) { return static_cast<__mmask16>(n >= 16 ? 0xffff : n <= 0 ? 0 : (1 << n) - 1); }

// panel [words, vectors * 16] from `count` rows of b, which hold the summed dimension: blocks of 16 by 16 words turned over.
static void pack_panel_transposed(const uint16_t* b, int64_t stride, int64_t count, int64_t depth, int64_t vectors, uint32_t* panel) {
  const int64_t words = depth / 2, width = vectors * 16;
  for (int64_t v = 0; v < vectors; v++) {
    const int64_t rows = count - v * 16;
    for (int64_t w = 0; w < words; w += 16) {
      const __mmask16 inside = first_lanes(words - w);
      alignas(64) uint32_t block[16 * 16];
      for (int64_t i = 0; i < 16; i++)
        _mm512_store_si512(block + i * 16, i < rows ? _mm512_maskz_loadu_epi32(inside, b + (v * 16 + i) * stride + 2 * w) : _mm512_setzero_si512());
      if (words - w >= 16) {
        transpose_block(block, 16, panel + w * width + v * 16, width);
        continue;
      }
      alignas(64) uint32_t turned[16 * 16];
      transpose_block(block, 16, turned, 16);
      for (int64_t i = 0; i < words - w; i++) std::memcpy(panel + (w + i) * width + v * 16, turned + i * 16, 64);
    }
  }
}

// The same from b [depth, count]: two consecutive rows interleaved.
static void pack_panel_rows(const uint16_t* b, int64_t stride, int64_t count, int64_t depth, int64_t vectors, uint32_t* panel) {
  for (int64_t w = 0; w < depth / 2; w++)
    for (int64_t v = 0; v < vectors; v++) {
      const __mmask16 inside = first_lanes(count - v * 16);
      const uint16_t* from = b + 2 * w * stride + v * 16;
      const vu words = interleave(_mm256_maskz_loadu_epi16(inside, from), _mm256_maskz_loadu_epi16(inside, from + stride));
      std::memcpy(panel + (w * vectors + v) * 16, &words, sizeof words);
    }
}

// What one panel's tiles have in common.
struct PanelRun {
  const uint32_t* a;
  int64_t lda, words;  // of 32 bits
  const uint32_t* panel;
  char* c;
  int64_t ldc;
  __mmask16 last;      // lanes of the last vector that exist
  bool accumulate;
};

template <int kRows, int kVectors, class C>
static inline __attribute__((always_inline)) void product_tile(const PanelRun& p, int64_t row) {
  const uint32_t* a = p.a + row * p.lda;
  const uint32_t* b = p.panel;
  // The results' lines and the next rows of a are under way while this tile is multiplied.
  for (int i = 0; i < kRows; i++)
    for (int v = 0; v < kVectors * 16 * static_cast<int>(sizeof(C)); v += 64)
      __builtin_prefetch(p.c + (row + i) * p.ldc * static_cast<int64_t>(sizeof(C)) + v, 1);
  __m512 acc[kRows][kVectors];
  for (int i = 0; i < kRows; i++)
    for (int v = 0; v < kVectors; v++) acc[i][v] = _mm512_setzero_ps();
  for (int64_t k = 0; k < p.words; k++, b += kVectors * 16) {
    __m512bh bk[kVectors];
    for (int v = 0; v < kVectors; v++) bk[v] = (__m512bh)_mm512_loadu_si512(b + v * 16);
    for (int i = 0; i < kRows; i++) {
      const __m512bh ak = (__m512bh)_mm512_set1_epi32(static_cast<int>(a[i * p.lda + k]));
      for (int v = 0; v < kVectors; v++) acc[i][v] = _mm512_dpbf16_ps(acc[i][v], ak, bk[v]);
    }
  }
  for (int i = 0; i < kRows; i++) {
    C* c = reinterpret_cast<C*>(p.c) + (row + i) * p.ldc;
    for (int v = 0; v < kVectors; v++) {
      const __mmask16 lanes = v == kVectors - 1 ? p.last : static_cast<__mmask16>(0xffff);
      if constexpr (sizeof(C) == 4) {
        __m512 sum = acc[i][v];
        if (p.accumulate) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(lanes, c + v * 16));
        _mm512_mask_storeu_ps(c + v * 16, lanes, sum);
      } else {
        _mm256_mask_storeu_epi16(c + v * 16, lanes, (__m256i)_mm512_cvtneps_pbh(acc[i][v]));
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
  const auto tiles = [&]<int kCount>(int64_t row) {
    for (int64_t i = 0; i < panels; i++) {
      p.panel = panel + i * p.words * kPanelColumns;
      p.c = c + i * kPanelColumns * static_cast<int64_t>(sizeof(C));
      product_tile<kCount, kVectors, C>(p, row);
    }
  };
  int64_t row = 0;
  for (; row + kRows <= rows; row += kRows) tiles.template operator()<kRows>(row);
  for (; row + 4 <= rows; row += 4) tiles.template operator()<4>(row);
  for (; row < rows; row++) tiles.template operator()<1>(row);
}

// Columns [begin, end) and the part [from, to) of the summed dimension; either several panels of full width or one.
template <class C>
static void product_group(const Product& op, int64_t begin, int64_t end, int64_t from, int64_t to, uint32_t* panel) {
  const uint16_t* b = static_cast<const uint16_t*>(op.b.data);
  const int64_t panels = (end - begin + kPanelColumns - 1) / kPanelColumns, words = (to - from) / 2;
  const int64_t count = panels > 1 ? kPanelColumns : end - begin, vectors = (count + 15) / 16;
  for (int64_t i = 0; i < panels; i++) {
    const int64_t j = begin + i * kPanelColumns;
    uint32_t* at = panel + i * words * kPanelColumns;
    if (op.b_transposed)
      pack_panel_transposed(b + j * op.b.stride + from, op.b.stride, count, to - from, vectors, at);
    else
      pack_panel_rows(b + from * op.b.stride + j, op.b.stride, count, to - from, vectors, at);
  }
  PanelRun p;
  p.a = static_cast<const uint32_t*>(op.a.data) + from / 2;
  p.lda = op.a.stride / 2;
  p.words = words;
  p.panel = panel;
  p.c = static_cast<char*>(op.c.data) + begin * static_cast<int64_t>(sizeof(C));
  p.ldc = op.c.stride;
  p.last = first_lanes(count - (vectors - 1) * 16);
  p.accumulate = op.accumulate || from > 0;
  if (vectors == 4) product_panels<4, C>(p, panels, op.a.rows);
  else if (vectors == 3) product_panels<3, C>(p, panels, op.a.rows);
  else if (vectors == 2) product_panels<2, C>(p, panels, op.a.rows);
  else product_panels<1, C>(p, panels, op.a.rows);
}

template <class C>
static void product_of(const Product& op, int64_t begin, int64_t end, uint32_t* panel) {
  const int64_t depth = op.a.cols;
  const int64_t passes = sizeof(C) == 4 ? (depth + kPanelDepth - 1) / kPanelDepth : 1;
  const int64_t group = group_columns((depth + passes - 1) / passes);
  for (int64_t j = begin; j < end;) {
    // A last panel that is not full comes alone.
    const int64_t left = end - j, full = left / kPanelColumns * kPanelColumns;
    const int64_t columns = full == 0 ? left : full < group ? full : group;
    for (int64_t pass = 0; pass < passes; pass++)
      product_group<C>(op, j, j + columns, depth / 2 * pass / passes * 2, depth / 2 * (pass + 1) / passes * 2, panel);
    j += columns;
  }
}

// Whether this kernel can do it: whole words in a, and no sum into bf16.
static bool product_fits(const Product& op) {
  return op.a.dtype == DType::kBF16 && op.b.dtype == DType::kBF16 && op.a.cols > 0 && op.a.cols % 2 == 0 && op.a.stride % 2 == 0 &&
         reinterpret_cast<uintptr_t>(op.a.data) % 4 == 0 && !(op.accumulate && op.c.dtype != DType::kF32);
}

// Columns [begin, end) of c. panel: kPanelColumns / 2 * depth words, 64-byte aligned.
static void product(const Product& op, int64_t begin, int64_t end, uint32_t* panel) {
  with_compute_type(op.c.dtype, [&](auto t) { product_of<decltype(t)>(op, begin, end, panel); });
}

#else

static bool product_fits(const Product&) { return false; }
static void product(const Product&, int64_t, int64_t, uint32_t*) {}

#endif

}  // namespace espalier::cpu::ESPALIER_ISA

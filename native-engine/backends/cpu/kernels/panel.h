// Panels of a bf16 product: 16, 32, 48 or 64 columns of a selection, as words of two consecutive values of the summed dimension.
// Lists, other stored dtypes and scales are dealt with while packing, so no copy of a weight is ever made.
#pragma once
#include "selection.h"
#include "tile.h"

#if defined(__AVX512BF16__)
namespace espalier::cpu::ESPALIER_ISA {

static inline __mmask16 first_lanes(int64_t n) { return static_cast<__mmask16>(n >= 16 ? 0xffff : n <= 0 ? 0 : (1 << n) - 1); }

// Reads runs of a selection's rows as bf16.
struct SelectionReader {
  const Selection& s;

  // nullptr: a row of zeros.
  const char* row(int64_t i) const {
    const int64_t r = s.row_index ? s.row_index[i] : i < s.stored.rows ? i : -1;
    return r < 0 ? nullptr : static_cast<const char*>(s.stored.data) + r * s.stored.cols * dtype_bytes(s.stored.dtype);
  }
  // Values [j, j + n) of a row, 16 at most, zeros beyond.
  __m256i values(const char* row, int64_t j, int64_t n) const {
    if (!row) return _mm256_setzero_si256();
    if (s.col_index) return picked(row, s.col_index + j, n);
    const __mmask16 lanes = first_lanes(n < s.stored.cols - j ? n : s.stored.cols - j);
    switch (s.stored.dtype) {
      case DType::kBF16: {
        const __m256i stored = _mm256_maskz_loadu_epi16(lanes, row + j * 2);
        return s.scale == 1.0f ? stored : rounded(_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(stored), 16)));
      }
      case DType::kF16:
        return rounded(_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, row + j * 2)));
      default:
        return rounded(_mm512_maskz_loadu_ps(lanes, row + j * 4));
    }
  }

 private:
  __m256i rounded(__m512 v) const { return (__m256i)_mm512_cvtneps_pbh(_mm512_mul_ps(v, _mm512_set1_ps(s.scale))); }

  __m256i picked(const char* row, const int32_t* cols, int64_t n) const {
    if (n > 16) n = 16;
    if (s.stored.dtype == DType::kBF16 && s.scale == 1.0f) {
      alignas(32) uint16_t bits[16] = {};
      for (int64_t i = 0; i < n; i++)
        if (cols[i] >= 0) std::memcpy(&bits[i], row + cols[i] * 2, 2);
      return _mm256_load_si256(reinterpret_cast<const __m256i*>(bits));
    }
    alignas(64) float values[16] = {};
    for (int64_t i = 0; i < n; i++)
      if (cols[i] >= 0) values[i] = read_weight(row, s.stored.dtype, cols[i]);
    return rounded(_mm512_load_ps(values));
  }
};

// panel [words, vectors * 16] from the selection's rows [first, first + count), which hold the summed dimension, and of that the
// part [from, from + 2 * words): blocks of 16 by 16 words turned over.
static void pack_panel_transposed(const Selection& s, int64_t first, int64_t count, int64_t from, int64_t words, int64_t vectors,
                                  uint32_t* panel) {
  const SelectionReader reader{s};
  const bool plain = !s.col_index && s.stored.dtype == DType::kBF16 && s.scale == 1.0f;
  const int64_t width = vectors * 16;
  for (int64_t v = 0; v < vectors; v++) {
    const char* rows[16];
    for (int64_t i = 0; i < 16; i++) rows[i] = v * 16 + i < count ? reader.row(first + v * 16 + i) : nullptr;
    for (int64_t w = 0; w < words; w += 16) {
      const int64_t left = words - w, at = from + 2 * w;
      alignas(64) uint32_t block[16 * 16], turned[16 * 16];
      if (plain && at + 32 <= s.stored.cols && left >= 16) {
        for (int64_t i = 0; i < 16; i++) _mm512_store_si512(block + i * 16, rows[i] ? _mm512_loadu_si512(rows[i] + at * 2) : _mm512_setzero_si512());
      } else {
        for (int64_t i = 0; i < 16; i++) {
          _mm256_store_si256(reinterpret_cast<__m256i*>(block + i * 16), reader.values(rows[i], at, 2 * left));
          _mm256_store_si256(reinterpret_cast<__m256i*>(block + i * 16 + 8), left > 8 ? reader.values(rows[i], at + 16, 2 * left - 16) : _mm256_setzero_si256());
        }
      }
      if (left >= 16) {
        transpose_block(block, 16, panel + w * width + v * 16, width);
        continue;
      }
      transpose_block(block, 16, turned, 16);
      for (int64_t i = 0; i < left; i++) std::memcpy(panel + (w + i) * width + v * 16, turned + i * 16, 64);
    }
  }
}

// The same where the selection's rows [from, from + 2 * words) are the summed dimension: two consecutive rows interleaved, of the
// columns [first, first + count).
static void pack_panel_rows(const Selection& s, int64_t first, int64_t count, int64_t from, int64_t words, int64_t vectors, uint32_t* panel) {
  const SelectionReader reader{s};
  const bool plain = !s.col_index && s.stored.dtype == DType::kBF16 && s.scale == 1.0f && first + vectors * 16 <= s.stored.cols;
  for (int64_t w = 0; w < words; w++) {
    const char *even = reader.row(from + 2 * w), *odd = reader.row(from + 2 * w + 1);
    if (plain && even && odd) {
      const auto load_16 = [&](const char* row, int64_t v) { return load_raw<__m256i>(row + (first + v * 16) * 2); };
      for (int64_t v = 0; v < vectors; v++) {
        const vu pair = interleave(load_16(even, v), load_16(odd, v));
        std::memcpy(panel + (w * vectors + v) * 16, &pair, sizeof pair);
      }
      continue;
    }
    for (int64_t v = 0; v < vectors; v++) {
      const int64_t left = count - v * 16;
      const vu pair = interleave(reader.values(even, first + v * 16, left), reader.values(odd, first + v * 16, left));
      std::memcpy(panel + (w * vectors + v) * 16, &pair, sizeof pair);
    }
  }
}

}  // namespace espalier::cpu::ESPALIER_ISA
#endif

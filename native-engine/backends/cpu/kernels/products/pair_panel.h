// Panels of a bf16 product: 16, 32, 48 or 64 columns of a selection, as words of two consecutive values of the summed dimension. Packing
// applies lists, other stored dtypes and scales, so no copy of a weight is ever made.
#pragma once
#include "espalier/base/dtypes.h"
#include "products/panel_group.h"
#include "selection.h"

#if defined(__AVX512BF16__)
namespace espalier::cpu::ESPALIER_ISA {

// Up to 16 columns of a selection. Open columns mostly lie near each other, and then one permutation of 64 values picks them.
struct ColumnRun {
  int64_t first = 0, count = 0;
  const int32_t* cols = nullptr;  // nullptr: the run has the columns first, first + 1, ...
  bool near = false;
  int64_t base = 0;  // the first of the 64 values
  __m512i at{};      // the places of the columns among these values
  __mmask16 open = 0;
};

// Reads runs of a selection's rows as bf16.
struct SelectionReader {
  const Selection& s;

  // Returns row i of the selection; nullptr stands for a row of zeros.
  const char* row(int64_t i) const {
    const int64_t r = stored_row(s, i);
    return r < 0 ? nullptr : reinterpret_cast<const char*>(host(s.stored.data)) + r * s.stored.cols * dtype_bytes(s.stored.dtype);
  }

  // Returns the columns [j, j + n): at most 16, and none beyond the end of the list.
  ColumnRun columns(int64_t j, int64_t n) const {
    ColumnRun run;
    run.first = j;
    run.count = n > 16 ? 16 : n > 0 ? n : 0;
    if (!s.col_index || run.count == 0) return run;
    run.cols = host(s.col_index) + j;
    if (s.stored.dtype != DType::kBF16 || s.scale != 1.0f || s.stored.cols < 64 || run.cols[0] < 0) return run;
    const __m512i list = _mm512_mask_loadu_epi32(_mm512_set1_epi32(-1), first_lanes(run.count), run.cols);
    run.open = _mm512_cmpge_epi32_mask(list, _mm512_setzero_si512());
    run.base = run.cols[0] < s.stored.cols - 64 ? run.cols[0] : s.stored.cols - 64;
    const __m512i offset = _mm512_sub_epi32(list, _mm512_set1_epi32(static_cast<int>(run.base)));
    run.near = _mm512_mask_cmplt_epu32_mask(run.open, offset, _mm512_set1_epi32(64)) == run.open;
    run.at = _mm512_castsi256_si512(_mm512_cvtepi32_epi16(offset));
    return run;
  }

  // Reads one row's values of a run. Columns beyond the run and beyond the stored matrix are zeros.
  __m256i values(const char* row, const ColumnRun& run) const {
    if (!row) return _mm256_setzero_si256();
    if (run.near) {
      const __m512i picked =
          _mm512_permutex2var_epi16(_mm512_loadu_si512(row + run.base * 2), run.at, _mm512_loadu_si512(row + run.base * 2 + 64));
      return _mm256_maskz_mov_epi16(run.open, _mm512_castsi512_si256(picked));
    }
    if (run.cols) return picked(row, run);
    const int64_t left = s.stored.cols - run.first;
    const __mmask16 lanes = first_lanes(run.count < left ? run.count : left);
    switch (s.stored.dtype) {
      case DType::kBF16: {
        const __m256i stored = _mm256_maskz_loadu_epi16(lanes, row + run.first * 2);
        return s.scale == 1.0f ? stored : rounded(_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(stored), 16)));
      }
      case DType::kF16:
        return rounded(_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, row + run.first * 2)));
      default:
        return rounded(_mm512_maskz_loadu_ps(lanes, row + run.first * 4));
    }
  }

 private:
  __m256i rounded(__m512 v) const { return (__m256i)_mm512_cvtneps_pbh(_mm512_mul_ps(v, _mm512_set1_ps(s.scale))); }

  __m256i picked(const char* row, const ColumnRun& run) const {
    if (s.stored.dtype == DType::kBF16 && s.scale == 1.0f) {
      alignas(32) uint16_t bits[16] = {};
      for (int64_t i = 0; i < run.count; i++)
        if (run.cols[i] >= 0) std::memcpy(&bits[i], row + run.cols[i] * 2, 2);
      return _mm256_load_si256(reinterpret_cast<const __m256i*>(bits));
    }
    alignas(64) float values[16] = {};
    for (int64_t i = 0; i < run.count; i++)
      if (run.cols[i] >= 0) values[i] = read_weight(row, s.stored.dtype, run.cols[i]);
    return rounded(_mm512_load_ps(values));
  }
};

// Tells whether 16 consecutive columns of a selection can be read at once: they lie side by side, and bf16 needs no factor.
static inline bool reads_whole_vectors(const Selection& s) { return !s.col_index && (s.stored.dtype != DType::kBF16 || s.scale == 1.0f); }

// Reads 16 consecutive values of f32 or f16, times the factor.
static inline vf scaled_floats(const char* from, DType t, float scale) {
  return (t == DType::kF32 ? load_raw<vf>(from) : (vf)_mm512_cvtph_ps(load_raw<__m256i>(from))) * scale;
}

struct PairPacking {
  static constexpr int kPair = 2;

  // Packs one vector of a panel [words, width] from the selection's rows [first, first + count), at most 16, which lie along the summed
  // dimension. It packs the part [from, from + 2 * words) of this dimension, in transposed blocks of 16 by 16 words, and zeros behind it up
  // to `filled` words.
  template <bool kShared>
  static void turned(const Selection& s, int64_t first, int64_t count, int64_t from, int64_t words, int64_t filled, int64_t width,
                     uint32_t* panel) {
    const SelectionReader reader{s};
    const bool whole_vectors = reads_whole_vectors(s);
    const DType type = s.stored.dtype;
    const int64_t bytes = dtype_bytes(type);
    const char* stored[16];
    for (int64_t i = 0; i < 16; i++) stored[i] = i < count ? reader.row(first + i) : nullptr;
    for (int64_t w = 0; w < words; w += 16) {
      const int64_t left = words - w, at = from + 2 * w;
      alignas(64) uint32_t block[16 * 16], turned_block[16 * 16];
      if (whole_vectors && at + 32 <= s.stored.cols && left >= 16) {
        for (int64_t i = 0; i < 16; i++) {
          __m512i row = _mm512_setzero_si512();
          if (const char* values = stored[i] ? stored[i] + at * bytes : nullptr)
            row = type == DType::kBF16 ? _mm512_loadu_si512(values)
                                       : (__m512i)_mm512_cvtne2ps_pbh((__m512)scaled_floats(values + 16 * bytes, type, s.scale),
                                                                      (__m512)scaled_floats(values, type, s.scale));
          _mm512_store_si512(block + i * 16, row);
        }
      } else {
        const ColumnRun low = reader.columns(at, 2 * left), high = reader.columns(at + 16, 2 * left - 16);
        for (int64_t i = 0; i < 16; i++) {
          _mm256_store_si256(reinterpret_cast<__m256i*>(block + i * 16), reader.values(stored[i], low));
          _mm256_store_si256(reinterpret_cast<__m256i*>(block + i * 16 + 8),
                             high.count > 0 ? reader.values(stored[i], high) : _mm256_setzero_si256());
        }
      }
      transpose_block(block, 16, turned_block, 16);
      for (int64_t i = 0; i < 16 && i < filled - w; i++) put_words<kShared>(panel + (w + i) * width, load_raw<vu>(turned_block + i * 16));
    }
  }

  // Packs a panel where the selection's rows [from, from + 2 * words) are the summed dimension: it interleaves two consecutive rows in the
  // columns [first, first + count).
  template <bool kShared>
  static void rows(const Selection& s, int64_t first, int64_t count, int64_t from, int64_t words, int64_t vectors, uint32_t* panel) {
    const SelectionReader reader{s};
    const bool whole_vectors = reads_whole_vectors(s) && first + vectors * 16 <= s.stored.cols;
    const DType type = s.stored.dtype;
    const int64_t bytes = dtype_bytes(type);
    ColumnRun runs[4];
    for (int64_t v = 0; v < vectors; v++) runs[v] = reader.columns(first + v * 16, count - v * 16);
    // Rows lie far apart, so the processor can't predict the next access. The next panel's columns are prefetched on the way.
    const int64_t left = s.stored.cols - first - vectors * 16, next_bytes = (left < vectors * 16 ? left : vectors * 16) * bytes;
    for (int64_t w = 0; w < words; w++) {
      const char *even = reader.row(from + 2 * w), *odd = reader.row(from + 2 * w + 1);
      const bool whole = whole_vectors && even && odd;
      for (int64_t v = 0; v < vectors; v++) {
        const int64_t at = (first + v * 16) * bytes;
        vu pairs;
        if (!whole)
          pairs = interleave(reader.values(even, runs[v]), reader.values(odd, runs[v]));
        else if (type == DType::kBF16)
          pairs = interleave(load_raw<__m256i>(even + at), load_raw<__m256i>(odd + at));
        else
          pairs = pair_words(scaled_floats(even + at, type, s.scale), scaled_floats(odd + at, type, s.scale));
        put_words<kShared>(panel + (w * vectors + v) * 16, pairs);
      }
      for (int64_t line = 0; whole && line < next_bytes; line += 64) {
        const int64_t at = (first + vectors * 16) * bytes + line;
        _mm_prefetch(even + at, _MM_HINT_T1);
        _mm_prefetch(odd + at, _MM_HINT_T1);
      }
    }
  }
};

}  // namespace espalier::cpu::ESPALIER_ISA
#endif

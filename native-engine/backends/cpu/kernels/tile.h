// Small matrix products on packed operands that fit into the cache, for attention and LoRA gradients.
//
// An operand is a matrix of 32-bit words along the summed dimension. A word is one f32, or a pair of bf16 where the processor multiplies
// pairs; WordsOf<T>::type::kPair is the number of values in a word. On other processors bf16 data is widened to f32 words.
#pragma once
#include "simd.h"

namespace espalier::cpu::ESPALIER_ISA {

struct NoRegisters {};

struct F32Words {
  static constexpr int kPair = 1;
  using Registers = NoRegisters;  // registers that products of these words set up once, and may keep for later products
  static inline vf multiply_add(vf acc, uint32_t a, vu b) {
    float f;
    std::memcpy(&f, &a, 4);
    return acc + f * (vf)b;
  }
  // Stores the words of one row, which hold values along the row.
  static inline void store_row(uint32_t* to, vf v) { std::memcpy(to, &v, sizeof v); }
  static inline void store_two(uint32_t* to, vf first, vf second) {
    store_row(to, first);
    store_row(to + W, second);
  }
};

struct Bf16Words {
  static constexpr int kPair = 2;
  using Registers = NoRegisters;
#if defined(__AVX512BF16__)
  static inline vf multiply_add(vf acc, uint32_t a, vu b) {
    return (vf)_mm512_dpbf16_ps((__m512)acc, (__m512bh)_mm512_set1_epi32(static_cast<int>(a)), (__m512bh)b);
  }
  static inline void store_row(uint32_t* to, vf v) { store(reinterpret_cast<bf16*>(to), v); }
  // Stores a whole line at once. A load of a line waits long for a line that two stores have just made.
  static inline void store_two(uint32_t* to, vf first, vf second) {
    _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first));
  }
#endif
};

template <class T>
struct WordsOf {
  using type = F32Words;
};
#if defined(__AVX512BF16__)
template <>
struct WordsOf<bf16> {
  using type = Bf16Words;
};
#endif

// The words of bf16 data.
using PairWords = WordsOf<bf16>::type;

#if defined(__AVX512BF16__)
// Interleaves 16 values of each of two rows into words, without a conversion.
static inline vu interleave(__m256i first, __m256i second) {
  alignas(64) static constexpr uint16_t kOrder[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                      8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  return (vu)_mm512_permutex2var_epi16(_mm512_castsi256_si512(first), _mm512_load_si512(kOrder), _mm512_castsi256_si512(second));
}
#endif

// Returns words that hold (a[i], b[i]): the values of two consecutive rows of the summed dimension.
static inline vu pair_words(vf a, vf b) {
#if defined(__AVX512BF16__)
  const __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)b, (__m512)a);  // 16 values of a, then 16 of b
  alignas(64) static constexpr uint16_t kInterleave[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                           8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return (vu)_mm512_permutexvar_epi16(_mm512_load_si512(kInterleave), both);
#else
  return (round_to_bf16_high(a) >> 16) | round_to_bf16_high(b);
#endif
}

template <class Words, int kRows, int kVectors>
static inline __attribute__((always_inline)) void tile(int64_t words, const uint32_t* a, int64_t lda, const uint32_t* b, int64_t ldb,
                                                       float* c, int64_t ldc, bool accumulate) {
  vf acc[kRows][kVectors];
  for (int i = 0; i < kRows; i++)
    for (int v = 0; v < kVectors; v++) acc[i][v] = accumulate ? load(c + i * ldc + v * W) : vf{};
  for (int64_t k = 0; k < words; k++) {
    vu row[kVectors];
    for (int v = 0; v < kVectors; v++) row[v] = load_raw<vu>(b + k * ldb + v * W);
    for (int i = 0; i < kRows; i++)
      for (int v = 0; v < kVectors; v++) acc[i][v] = Words::multiply_add(acc[i][v], a[i * lda + k], row[v]);
  }
  for (int i = 0; i < kRows; i++)
    for (int v = 0; v < kVectors; v++) store(c + i * ldc + v * W, acc[i][v]);
}

template <class Words, int kVectors>
static void tile_column(int64_t m, int64_t words, const uint32_t* a, int64_t lda, const uint32_t* b, int64_t ldb, float* c, int64_t ldc,
                        bool accumulate) {
  constexpr int kRows = kVectorRegisters == 16 || kVectors == 4 ? 4 : 8;
  int64_t i = 0;
  for (; i + kRows <= m; i += kRows) tile<Words, kRows, kVectors>(words, a + i * lda, lda, b, ldb, c + i * ldc, ldc, accumulate);
  if constexpr (kRows == 8)
    for (; i + 4 <= m; i += 4) tile<Words, 4, kVectors>(words, a + i * lda, lda, b, ldb, c + i * ldc, ldc, accumulate);
  for (; i < m; i++) tile<Words, 1, kVectors>(words, a + i * lda, lda, b, ldb, c + i * ldc, ldc, accumulate);
}

// c [m, n] (+)= a [m, words] b [words, n]; n is a multiple of W.
template <class Words>
static void tile_product(typename Words::Registers&, int64_t m, int64_t n, int64_t words, const uint32_t* a, int64_t lda, const uint32_t* b,
                         int64_t ldb, float* c, int64_t ldc, bool accumulate) {
  int64_t j = 0;
  if constexpr (W == 16)
    for (; j + 4 * W <= n; j += 4 * W) tile_column<Words, 4>(m, words, a, lda, b + j, ldb, c + j, ldc, accumulate);
  for (; j + 2 * W <= n; j += 2 * W) tile_column<Words, 2>(m, words, a, lda, b + j, ldb, c + j, ldc, accumulate);
  for (; j < n; j += W) tile_column<Words, 1>(m, words, a, lda, b + j, ldb, c + j, ldc, accumulate);
}

template <class Words>
static void tile_product(int64_t m, int64_t n, int64_t words, const uint32_t* a, int64_t lda, const uint32_t* b, int64_t ldb, float* c,
                         int64_t ldc, bool accumulate) {
  typename Words::Registers registers;
  tile_product<Words>(registers, m, n, words, a, lda, b, ldb, c, ldc, accumulate);
}

// Packs `count` values of one row into words along the row. An odd last value gets 0 as its partner.
template <class Words>
static inline void pack_row(const float* from, int64_t count, uint32_t* to) {
  int64_t j = 0;
  for (; j + 2 * W <= count; j += 2 * W) Words::store_two(to + j / Words::kPair, load(from + j), load(from + j + W));
  for (; j + W <= count; j += W) Words::store_row(to + j / Words::kPair, load(from + j));
  if (j < count) {
    alignas(64) uint32_t last[W];
    Words::store_row(last, load_part(from + j, count - j));
    std::memcpy(to + j / Words::kPair, last, (count - j + Words::kPair - 1) / Words::kPair * 4);
  }
}

// Packs one row (or two rows where words are pairs) of the summed dimension into one row of words; count is a multiple of W.
template <class Words>
static inline void pack_rows(const float* first, const float* second, int64_t count, uint32_t* to) {
  for (int64_t j = 0; j < count; j += W) {
    const vu words = Words::kPair == 2 ? pair_words(load(first + j), load(second + j)) : (vu)load(first + j);
    std::memcpy(to + j, &words, sizeof words);
  }
}

#if defined(__AVX512F__)
static inline void transpose_block(const uint32_t* from, int64_t ld_from, uint32_t* to, int64_t ld_to) {
  __m512i r[16], t[16];
  for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_si512(from + i * ld_from);
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 8; i++) {
    _mm512_storeu_si512(to + i * ld_to, _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88));
    _mm512_storeu_si512(to + (i + 8) * ld_to, _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd));
  }
}
#endif

// to [cols, rows] = from [rows, cols] transposed.
static void transpose_words(const uint32_t* from, int64_t rows, int64_t cols, int64_t ld_from, uint32_t* to, int64_t ld_to) {
  int64_t i = 0;
#if defined(__AVX512F__)
  for (; i + 16 <= rows; i += 16) {
    int64_t j = 0;
    for (; j + 16 <= cols; j += 16) transpose_block(from + i * ld_from + j, ld_from, to + j * ld_to + i, ld_to);
    for (; j < cols; j++)
      for (int64_t k = i; k < i + 16; k++) to[j * ld_to + k] = from[k * ld_from + j];
  }
#endif
  for (; i < rows; i++)
    for (int64_t j = 0; j < cols; j++) to[j * ld_to + i] = from[i * ld_from + j];
}

}  // namespace espalier::cpu::ESPALIER_ISA

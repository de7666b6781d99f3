// The narrow products of LoRA's gradient: tokens by rank, and rank by width.
#pragma once
#include "tile.h"

namespace espalier::cpu::ESPALIER_ISA {

inline constexpr int64_t kTokenChunk = 64;
inline constexpr int64_t kColumnChunk = 64;

static int64_t pair_size(DType t) {
  int64_t pair = 1;
  with_compute_type(t, [&](auto v) { pair = WordsOf<decltype(v)>::type::kPair; });
  return pair;
}

static inline float factor_value(const FactorView& f, int64_t k, int64_t j) {
  const int64_t at = f.index ? f.index[j] : j < f.limit ? j : -1;
  return at < 0 ? 0.0f : f.data[k * f.k_stride + at * f.j_stride] * (f.scale ? f.scale[j] : 1.0f);
}

// words [width / pair, words_stride]: rows of the summed dimension j in [begin, end), even numbers.
static void pack_factor(DType t, const FactorView& f, int64_t begin, int64_t end, uint32_t* words, int64_t words_stride) {
  const bool pairs = pair_size(t) == 2;
  float first[W] = {}, second[W] = {};
  for (int64_t j = begin; j < end; j += pairs ? 2 : 1)
    for (int64_t k = 0; k < f.rank; k += W) {
      const int64_t count = f.rank - k < W ? f.rank - k : W;
      for (int64_t i = 0; i < count; i++) {
        first[i] = factor_value(f, k + i, j);
        second[i] = pairs ? factor_value(f, k + i, j + 1) : 0.0f;
      }
      const vu packed = pairs ? pair_words(load(first), load(second)) : (vu)load(first);
      std::memcpy(words + (pairs ? j / 2 : j) * words_stride + f.first_k + k, &packed, count * 4);
    }
}

#if defined(__AVX512BF16__)
// Eight columns of 16: half a vector costs half.
static void tile_product_half(int64_t m, int64_t words, const uint32_t* a, int64_t lda, const uint32_t* b, int64_t ldb, float* c) {
  constexpr int kRows = 16;  // sums enough to hide their latency
  for (int64_t i = 0; i < m; i += kRows) {
    const uint32_t* row[kRows];
    for (int r = 0; r < kRows; r++) row[r] = a + (i + r < m ? i + r : m - 1) * lda;
    __m256 acc[kRows];
    for (auto& v : acc) v = _mm256_setzero_ps();
    for (int64_t k = 0; k < words; k++) {
      const __m256bh bk = (__m256bh)_mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + k * ldb));
      for (int r = 0; r < kRows; r++) acc[r] = _mm256_dpbf16_ps(acc[r], (__m256bh)_mm256_set1_epi32(static_cast<int>(row[r][k])), bk);
    }
    for (int r = 0; r < kRows && i + r < m; r++) {
      _mm256_storeu_ps(c + (i + r) * 16, acc[r]);
      _mm256_storeu_ps(c + (i + r) * 16 + 8, _mm256_setzero_ps());
    }
  }
}
#endif

// out [rank_padded, out_stride] words: (x . factor^T)^T for the tokens [begin, end), a chunk of kTokenChunk at most.
template <class T>
static void narrow_chunk(const Tensor& x, const uint32_t* factor_words, int64_t rank_padded, int64_t begin, int64_t end,
                         uint32_t* out_words, int64_t out_stride) {
  using Words = typename WordsOf<T>::type;
  const int64_t count = end - begin, words = x.cols / Words::kPair;
  alignas(64) float product[kTokenChunk * 64];
  alignas(64) uint32_t pairs[kTokenChunk * 64];
  for (int64_t k = 0; k < rank_padded; k += 16) {
    if constexpr (Words::kPair * sizeof(T) == 4) {  // rows are words as they are
      const uint32_t* a = reinterpret_cast<const uint32_t*>(row_ptr<T>(x, begin));
      const int64_t lda = x.stride * static_cast<int64_t>(sizeof(T)) / 4;
#if defined(__AVX512BF16__)
      if (rank_padded - k == 8)
        tile_product_half(count, words, a, lda, factor_words + k, rank_padded, product);
      else
#endif
        tile_product<Words>(count, 16, words, a, lda, factor_words + k, rank_padded, product, 16, false);
    } else {
      for (int64_t j = 0; j < x.cols; j += kColumnChunk) {
        const int64_t width = x.cols - j < kColumnChunk ? x.cols - j : kColumnChunk;
        for (int64_t n = 0; n < count; n++)
          for (int64_t c = 0; c < width; c += W) F32Words::store_row(pairs + n * kColumnChunk + c, load(row_ptr<T>(x, begin + n) + j + c));
        tile_product<Words>(count, 16, width, pairs, kColumnChunk, factor_words + j * rank_padded + k, rank_padded, product, 16, j > 0);
      }
    }
    const int64_t padded = (count + 1) / 2 * 2;
    for (int64_t j = count * 16; j < padded * 16; j++) product[j] = 0;
    for (int64_t n = 0; n < padded; n += Words::kPair)
      pack_rows<Words>(product + n * 16, product + (n + 1) * 16, 16, pairs + n / Words::kPair * 16);
    const int64_t columns = rank_padded - k < 16 ? rank_padded - k : 16;
    transpose_words(pairs, (count + Words::kPair - 1) / Words::kPair, columns, 16, out_words + k * out_stride + begin / Words::kPair, out_stride);
  }
}

static void narrow_product(Tensor x, const uint32_t* factor_words, int64_t rank_padded, int64_t begin, int64_t end,
                           uint32_t* out_words, int64_t out_stride) {
  with_compute_type(x.dtype, [&](auto t) {
    for (int64_t n = begin; n < end; n += kTokenChunk)
      narrow_chunk<decltype(t)>(x, factor_words, rank_padded, n, n + kTokenChunk < end ? n + kTokenChunk : end, out_words, out_stride);
  });
}

// Words of two rows (the second may be missing: zeros) of x, columns [begin, begin + width).
template <class T>
static inline void pack_token_pair(const T* first, [[maybe_unused]] const T* second, int64_t width, uint32_t* to) {
  using Words = typename WordsOf<T>::type;
#if defined(__AVX512BF16__)
  if constexpr (Words::kPair == 2) {
    for (int64_t j = 0; j < width; j += W) {
      const vu words = interleave(load_raw<__m256i>(first + j), second ? load_raw<__m256i>(second + j) : _mm256_setzero_si256());
      std::memcpy(to + j, &words, sizeof words);
    }
    return;
  }
#endif
  for (int64_t j = 0; j < width; j += W) F32Words::store_row(to + j, load(first + j));
}

template <class T>
static void outer_columns(const Tensor& x, const uint32_t* narrow_words, int64_t narrow_stride, int64_t rank, int64_t begin,
                          int64_t width, float* out, int64_t out_stride, uint32_t* packed) {
  using Words = typename WordsOf<T>::type;
  for (int64_t n0 = 0; n0 < x.rows; n0 += kTokenChunk) {
    const int64_t n1 = n0 + kTokenChunk < x.rows ? n0 + kTokenChunk : x.rows;
    for (int64_t n = n0; n < n1; n += Words::kPair)
      pack_token_pair(row_ptr<T>(x, n) + begin, n + 1 < n1 ? row_ptr<T>(x, n + 1) + begin : nullptr, width,
                      packed + (n - n0) / Words::kPair * kColumnChunk);
    const int64_t words = (n1 - n0 + Words::kPair - 1) / Words::kPair;
    tile_product<Words>(rank, width, words, narrow_words + n0 / Words::kPair, narrow_stride, packed, kColumnChunk, out + begin,
                        out_stride, n0 > 0);
  }
}

static void outer_product(Tensor x, const uint32_t* narrow_words, int64_t narrow_stride, int64_t rank, int64_t begin, int64_t end,
                          float* out, int64_t out_stride, uint32_t* scratch) {
  with_compute_type(x.dtype, [&](auto t) {
    for (int64_t j = begin; j < end; j += kColumnChunk)
      outer_columns<decltype(t)>(x, narrow_words, narrow_stride, rank, j, j + kColumnChunk < end ? kColumnChunk : end - j, out,
                                 out_stride, scratch);
  });
}

}  // namespace espalier::cpu::ESPALIER_ISA

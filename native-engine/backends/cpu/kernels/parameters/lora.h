// The narrow products of LoRA's gradient: tokens by rank, and rank by width.
#pragma once
#include <type_traits>

#include "espalier/base/dtypes.h"
#include "tile.h"

namespace espalier::cpu::ESPALIER_ISA {

inline constexpr int64_t kTokenChunk = 64;
inline constexpr int64_t kColumnChunk = 64;

static int64_t pair_size(DType t) {
  int64_t pair = 1;
  with_compute_type(t, [&](auto v) { pair = WordsOf<decltype(v)>::type::kPair; });
  return pair;
}

// Packs the words of a narrow product's factor, [in / pair, words_stride], for [begin, end) of the summed dimension, both even. They fill
// the first `rank` columns of `words`.
static void pack_factor(DType t, const Selection& factor, bool transposed, int64_t rank, int64_t begin, int64_t end, uint32_t* words,
                        int64_t words_stride) {
  const bool pairs = pair_size(t) == 2;
  const float* stored = reinterpret_cast<const float*>(host(factor.stored.data));
  const auto value = [&](int64_t k, int64_t j) {
    const int32_t* index = host(transposed ? factor.col_index : factor.row_index);
    const int64_t at = index ? index[j] : j < (transposed ? factor.stored.cols : factor.stored.rows) ? j : -1;
    return at < 0 ? 0.0f : factor.scale * (transposed ? stored[k * factor.stored.cols + at] : stored[at * factor.stored.cols + k]);
  };
  float first[W] = {}, second[W] = {};
  for (int64_t j = begin; j < end; j += pairs ? 2 : 1)
    for (int64_t k = 0; k < rank; k += W) {
      const int64_t count = rank - k < W ? rank - k : W;
      for (int64_t i = 0; i < count; i++) {
        first[i] = value(k + i, j);
        second[i] = pairs ? value(k + i, j + 1) : 0.0f;
      }
      const vu packed = pairs ? pair_words(load(first), load(second)) : (vu)load(first);
      std::memcpy(words + (pairs ? j / 2 : j) * words_stride + k, &packed, count * 4);
    }
}

#if defined(__AVX512BF16__)
// Computes eight of 16 columns: half a vector costs half the time.
static void tile_product_half(int64_t m, int64_t words, const uint32_t* a, int64_t lda, const uint32_t* b, int64_t ldb, float* c) {
  constexpr int kRows = 16;  // enough sums to hide their latency
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

// out = x . factor for the tokens [begin, end), at most kTokenChunk of them. The words have as many columns as out, padded to a whole or
// half vector.
template <class T>
static void narrow_chunk(const Tensor& x, const uint32_t* factor_words, int64_t words_stride, int64_t begin, int64_t end,
                         const Tensor& out) {
  using Words = typename WordsOf<T>::type;
  const int64_t count = end - begin, words = x.cols / Words::kPair;
  alignas(64) float product[kTokenChunk * 16];
  for (int64_t k = 0; k < words_stride; k += 16) {
    if constexpr (Words::kPair * sizeof(T) == 4) {  // the rows already have the form of words
      const uint32_t* a = reinterpret_cast<const uint32_t*>(row_ptr<T>(x, begin));
      const int64_t lda = x.stride * static_cast<int64_t>(sizeof(T)) / 4;
#if defined(__AVX512BF16__)
      if (words_stride - k == 8)
        tile_product_half(count, words, a, lda, factor_words + k, words_stride, product);
      else
#endif
        tile_product<Words>(count, 16, words, a, lda, factor_words + k, words_stride, product, 16, false);
    } else {
      alignas(64) uint32_t widened[kTokenChunk * kColumnChunk];
      for (int64_t j = 0; j < x.cols; j += kColumnChunk) {
        const int64_t width = x.cols - j < kColumnChunk ? x.cols - j : kColumnChunk;
        for (int64_t n = 0; n < count; n++)
          for (int64_t c = 0; c < width; c += W)
            F32Words::store_row(widened + n * kColumnChunk + c, load(row_ptr<T>(x, begin + n) + j + c));
        tile_product<Words>(count, 16, width, widened, kColumnChunk, factor_words + j * words_stride + k, words_stride, product, 16, j > 0);
      }
    }
    for (int64_t n = 0; n < count; n++)
      for (int64_t c = 0; c < 16 && k + c < out.cols; c += W) {
        T* to = row_ptr<T>(out, begin + n) + k + c;
        if (out.cols - k - c >= W)
          store(to, load(product + n * 16 + c));
        else
          store_part(to, load(product + n * 16 + c), out.cols - k - c);
      }
  }
}

static void narrow_product(Tensor x, const uint32_t* factor_words, int64_t words_stride, int64_t begin, int64_t end, Tensor out) {
  with_compute_type(x.dtype, [&](auto t) {
    for (int64_t n = begin; n < end; n += kTokenChunk)
      narrow_chunk<decltype(t)>(x, factor_words, words_stride, n, n + kTokenChunk < end ? n + kTokenChunk : end, out);
  });
}

#if defined(__AVX512BF16__)
// Packs blocks of 32 rows by 16 columns or, at the end, as many columns as are left.
static void transpose_pairs(const Tensor& narrow, uint32_t* out_words, int64_t out_stride) {
  alignas(64) uint32_t pairs[16 * 16], turned[16 * 16];
  for (int64_t first = 0; first < narrow.rows; first += 32)
    for (int64_t k = 0; k < narrow.cols; k += 16) {
      const int64_t columns = narrow.cols - k < 16 ? narrow.cols - k : 16;
      const __mmask16 lanes = static_cast<__mmask16>((1u << columns) - 1);
      const auto row = [&](int64_t n) {
        return n < narrow.rows ? _mm256_maskz_loadu_epi16(lanes, row_ptr<bf16>(narrow, n) + k) : _mm256_setzero_si256();
      };
      for (int64_t w = 0; w < 16; w++) _mm512_store_si512(pairs + w * 16, (__m512i)interleave(row(first + 2 * w), row(first + 2 * w + 1)));
      uint32_t* to = out_words + k * out_stride + first / 2;
      if (columns == 16) {
        transpose_block(pairs, 16, to, out_stride);
        continue;
      }
      transpose_block(pairs, 16, turned, 16);
      for (int64_t c = 0; c < columns; c++) std::memcpy(to + c * out_stride, turned + c * 16, 64);
    }
}
#endif

// Packs narrow [N, columns] as words along the tokens, transposed: [columns, out_stride].
static void transpose_narrow(Tensor narrow, uint32_t* out_words, int64_t out_stride) {
#if defined(__AVX512BF16__)
  if (narrow.dtype == DType::kBF16) return transpose_pairs(narrow, out_words, out_stride);
#endif
  with_compute_type(narrow.dtype, [&](auto t) {
    using T = decltype(t);
    constexpr int kPair = WordsOf<T>::type::kPair;
    alignas(64) float rows[2][16] = {};
    alignas(64) uint32_t pairs[kTokenChunk * 16];
    for (int64_t first = 0; first < narrow.rows; first += kTokenChunk) {
      const int64_t count = narrow.rows - first < kTokenChunk ? narrow.rows - first : kTokenChunk;
      for (int64_t k = 0; k < narrow.cols; k += 16) {
        const int64_t columns = narrow.cols - k < 16 ? narrow.cols - k : 16;
        for (int64_t n = 0; n < count; n += kPair) {
          for (int r = 0; r < kPair; r++)
            for (int64_t c = 0; c < columns; c++) rows[r][c] = n + r < count ? to_float(row_ptr<T>(narrow, first + n + r)[k + c]) : 0.0f;
          pack_rows<typename WordsOf<T>::type>(rows[0], rows[1], 16, pairs + n / kPair * 16);
        }
        transpose_words(pairs, (count + kPair - 1) / kPair, columns, 16, out_words + k * out_stride + first / kPair, out_stride);
      }
    }
  });
}

template <class T>
static void outer_columns(const Tensor& x, const uint32_t* narrow_words, int64_t narrow_stride, int64_t rank, int64_t begin, int64_t width,
                          float* out, int64_t out_stride, uint32_t* packed) {
  for (int64_t n0 = 0; n0 < x.rows; n0 += kTokenChunk) {
    const int64_t n1 = n0 + kTokenChunk < x.rows ? n0 + kTokenChunk : x.rows;
    for (int64_t n = n0; n < n1; n++)
      for (int64_t j = 0; j < width; j += W) F32Words::store_row(packed + (n - n0) * kColumnChunk + j, load(row_ptr<T>(x, n) + begin + j));
    tile_product<F32Words>(rank, width, n1 - n0, narrow_words + n0, narrow_stride, packed, kColumnChunk, out + begin, out_stride, n0 > 0);
  }
}

#if defined(__AVX512BF16__)
// Multiplies kRank rows of narrow words by 32 columns (16 if `half`) of `rows` tokens of x, which it pairs on the way. The sums are added
// to `out` or, without `add`, overwrite it. The same columns of the following tokens are prefetched meanwhile.
template <int kRank>
static void outer_tile(const bf16* x, int64_t stride, int64_t rows, bool half, const uint32_t* narrow, int64_t narrow_stride, float* out,
                       int64_t out_stride, bool add) {
  const __mmask32 lanes = half ? 0xffffu : 0xffffffffu;
  __m512 low[kRank], high[kRank];
  for (int k = 0; k < kRank; k++) low[k] = high[k] = _mm512_setzero_ps();
  for (int64_t n = 0; n < rows; n += 2, x += 2 * stride) {
    __builtin_prefetch(x + kTokenChunk * stride);
    __builtin_prefetch(x + (kTokenChunk + 1) * stride);
    const __m512i first = _mm512_maskz_loadu_epi16(lanes, x);
    const __m512i second = n + 1 < rows ? _mm512_maskz_loadu_epi16(lanes, x + stride) : _mm512_setzero_si512();
    const __m512bh words_low = (__m512bh)_mm512_unpacklo_epi16(first, second), words_high = (__m512bh)_mm512_unpackhi_epi16(first, second);
    for (int k = 0; k < kRank; k++) {
      const __m512bh pair = (__m512bh)_mm512_set1_epi32(static_cast<int>(narrow[k * narrow_stride + n / 2]));
      low[k] = _mm512_dpbf16_ps(low[k], pair, words_low);
      high[k] = _mm512_dpbf16_ps(high[k], pair, words_high);
    }
  }
  // After unpacking, `low` and `high` hold groups of four columns in turn.
  const __m512i order = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
  const __m512i order_second = _mm512_add_epi32(order, _mm512_set1_epi32(8));
  for (int k = 0; k < kRank; k++) {
    float* to = out + k * out_stride;
    const auto put = [&](float* at, __m512 v) { _mm512_storeu_ps(at, add ? _mm512_add_ps(_mm512_loadu_ps(at), v) : v); };
    put(to, _mm512_permutex2var_ps(low[k], order, high[k]));
    if (!half) put(to + 16, _mm512_permutex2var_ps(low[k], order_second, high[k]));
  }
}

static void outer_pairs(const Tensor& x, const uint32_t* narrow, int64_t narrow_stride, int64_t rank, int64_t begin, int64_t end,
                        float* out, int64_t out_stride) {
  for (int64_t n = 0; n < x.rows; n += kTokenChunk)
    for (int64_t j = begin; j < end; j += 32) {
      int64_t k = 0;
      const auto tiles = [&](auto size) {
        for (; k + size.value <= rank; k += size.value)
          outer_tile<size.value>(row_ptr<bf16>(x, n) + j, x.stride, x.rows - n < kTokenChunk ? x.rows - n : kTokenChunk, end - j < 32,
                                 narrow + k * narrow_stride + n / 2, narrow_stride, out + k * out_stride + j, out_stride, n > 0);
      };
      tiles(std::integral_constant<int, 8>{});
      tiles(std::integral_constant<int, 4>{});
      tiles(std::integral_constant<int, 1>{});
    }
}
#endif

static void outer_product(Tensor x, const uint32_t* narrow_words, int64_t narrow_stride, int64_t rank, int64_t begin, int64_t end,
                          float* out, int64_t out_stride, uint32_t* scratch) {
#if defined(__AVX512BF16__)
  if (x.dtype == DType::kBF16) return outer_pairs(x, narrow_words, narrow_stride, rank, begin, end, out, out_stride);
#endif
  with_compute_type(x.dtype, [&](auto t) {
    for (int64_t j = begin; j < end; j += kColumnChunk)
      outer_columns<decltype(t)>(x, narrow_words, narrow_stride, rank, j, j + kColumnChunk < end ? kColumnChunk : end - j, out, out_stride,
                                 scratch);
  });
}

}  // namespace espalier::cpu::ESPALIER_ISA

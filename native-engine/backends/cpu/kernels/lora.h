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

// factor [rank, width] (width a multiple of 16) as words [width / pair, rank_padded].
static void pack_factor(DType t, const float* factor, int64_t width, int64_t rank, int64_t rank_padded, uint32_t* words) {
  const bool pairs = pair_size(t) == 2;
  for (int64_t j = 0; j < width; j += pairs ? 2 : 1)
    for (int64_t k = 0; k < rank_padded; k++) {
      uint32_t word = 0;
      if (k < rank && pairs) {
        bf16 both[2 * W];
        store(both, splat(factor[k * width + j]));
        store(both + W, splat(factor[k * width + j + 1]));
        word = both[0].bits | static_cast<uint32_t>(both[W].bits) << 16;
      } else if (k < rank) {
        std::memcpy(&word, factor + k * width + j, 4);
      }
      words[(pairs ? j / 2 : j) * rank_padded + k] = word;
    }
}

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
    transpose_words(pairs, (count + Words::kPair - 1) / Words::kPair, 16, 16, out_words + k * out_stride + begin / Words::kPair, out_stride);
  }
}

static void narrow_product(Tensor x, const uint32_t* factor_words, int64_t rank_padded, int64_t begin, int64_t end,
                           uint32_t* out_words, int64_t out_stride) {
  with_compute_type(x.dtype, [&](auto t) {
    for (int64_t n = begin; n < end; n += kTokenChunk)
      narrow_chunk<decltype(t)>(x, factor_words, rank_padded, n, n + kTokenChunk < end ? n + kTokenChunk : end, out_words, out_stride);
  });
}

template <class T>
static void outer_columns(const Tensor& x, const uint32_t* narrow_words, int64_t narrow_stride, int64_t rank, int64_t begin,
                          int64_t width, float* out, int64_t out_stride, uint32_t* packed) {
  using Words = typename WordsOf<T>::type;
  alignas(64) float rows[2][kColumnChunk];
  for (int64_t n0 = 0; n0 < x.rows; n0 += kTokenChunk) {
    const int64_t n1 = n0 + kTokenChunk < x.rows ? n0 + kTokenChunk : x.rows;
    for (int64_t n = n0; n < n1; n += Words::kPair) {
      for (int64_t r = 0; r < Words::kPair; r++)
        for (int64_t j = 0; j < width; j += W)
          store(rows[r] + j, n + r < n1 ? load(row_ptr<T>(x, n + r) + begin + j) : vf{});
      pack_rows<Words>(rows[0], rows[1], width, packed + (n - n0) / Words::kPair * kColumnChunk);
    }
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

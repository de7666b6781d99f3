// The arguments of the products' kernels, and their common parts. Factors are dense, of the compute dtype, with rows at multiples of 16
// bytes.
#pragma once
#include "tensors/tensor_values.h"

namespace espalier::cuda::ESPALIER_TARGET {

template <class T>
struct ProductPart {
  const T* a;  // [rows, depth]
  int32_t a_stride;
  const T* b;  // [depth, cols], or [cols, depth] where transposed
  int32_t b_stride;
  int32_t depth;
};

template <class T, class C>
struct ProductArguments {
  ProductPart<T> parts[6];
  int count;
  C* c;  // at any multiple of the size of C
  int32_t c_stride;
  int32_t rows, cols;
  const float* column_scale;  // nullptr stands for ones
  bool accumulate;
};

// Computes c. Each value of c is one sum in f32 along the parts in their order. This order depends neither on the tiles nor on the card.
void multiply_dense(StreamHandle stream, const ProductArguments<float, float>& g, bool transposed);  // defined in product_f32.cu
void multiply_dense(StreamHandle stream, const ProductArguments<bf16, float>& g, bool transposed);   // defined in product_bf16.cu
void multiply_dense(StreamHandle stream, const ProductArguments<bf16, bf16>& g, bool transposed);

// From these numbers on, products are computed in other ways, which give the same bits. Tests lower the numbers, so that small products
// take these ways too.
struct ProductLimits {
  int64_t packed_values = 64 << 20;  // the most values of packed factors at a time: a weight of 8192 x 8192
  // The least 128 x 128 tiles for which tiles are large: nearly the number of multiprocessors of the larger cards.
  unsigned tiles_for_large = 128;
};
ProductLimits& product_limits();  // defined in product.cu

// --- The kernels use the rest.

struct TilePlace {
  int32_t row, col;  // the first of the tile
};

__host__ __device__ __forceinline__ unsigned tile_count(int32_t rows, int32_t cols, int32_t tile_rows, int32_t tile_cols) {
  return static_cast<unsigned>((rows + tile_rows - 1) / tile_rows) * static_cast<unsigned>((cols + tile_cols - 1) / tile_cols);
}

// Returns the tile with this number. Tiles with near numbers, which are computed at the same time, cover few rows and few columns together,
// so that the cache serves both.
__device__ __forceinline__ TilePlace place_of_tile(int32_t id, int32_t rows, int32_t cols, int32_t tile_rows, int32_t tile_cols) {
  constexpr int32_t kGroup = 16;  // in tiles of rows
  const int32_t down = (rows + tile_rows - 1) / tile_rows, across = (cols + tile_cols - 1) / tile_cols;
  const int32_t first = id / (kGroup * across) * kGroup, height = down - first < kGroup ? down - first : kGroup;
  const int32_t local = id % (kGroup * across);
  return {(first + local % height) * tile_rows, local / height * tile_cols};
}

// The part in which the next tile along the depth begins, and its place in that part.
struct DepthCursor {
  int part = 0;
  int32_t k = 0;
  template <class Arguments>
  __device__ __forceinline__ void advance(const Arguments& g, int32_t tile) {
    k += tile;
    if (k >= g.parts[part].depth) part++, k = 0;
  }
};
template <class Arguments>
__device__ __forceinline__ int32_t tiles_along(const Arguments& g, int32_t tile) {
  int32_t tiles = 0;
  for (int p = 0; p < g.count; p++) tiles += (g.parts[p].depth + tile - 1) / tile;
  return tiles;
}

template <class T, class C>
__device__ __forceinline__ void store_product(const ProductArguments<T, C>& g, C* to, int32_t col, float sum) {
  if (g.column_scale) sum *= load(g.column_scale + col);
  if constexpr (sizeof(C) == 4)
    store(to, g.accumulate ? load(to) + sum : sum);
  else
    store(to, bf16{round_to_bf16(sum)});
}

template <class C>
struct alignas(2 * sizeof(C)) Pair {
  C first, second;
};

// Stores two neighbours of a row, by one access where they lie at a multiple of their size.
template <class C>
__device__ __forceinline__ void store_pair(const ProductArguments<bf16, C>& g, int32_t row, int32_t col, float first, float second) {
  if (row >= g.rows || col >= g.cols) return;
  C* to = g.c + int64_t{row} * g.c_stride + col;
  if (col + 1 >= g.cols || reinterpret_cast<uint64_t>(to) % sizeof(Pair<C>) != 0) {
    store_product(g, to, col, first);
    if (col + 1 < g.cols) store_product(g, to + 1, col + 1, second);
    return;
  }
  if (g.column_scale) first *= load(g.column_scale + col), second *= load(g.column_scale + col + 1);
  if constexpr (sizeof(C) == 2) {
    store(reinterpret_cast<uint32_t*>(to), bf16_pair(first, second));
  } else {
    auto* pair = reinterpret_cast<Pair<C>*>(to);
    const Pair<C> before = g.accumulate ? load(pair) : Pair<C>{0, 0};
    store(pair, g.accumulate ? Pair<C>{before.first + first, before.second + second} : Pair<C>{first, second});
  }
}

}  // namespace espalier::cuda::ESPALIER_TARGET

// Products of f32 factors by consecutive fused multiply-adds, which give the same bits on the emulator and on any card.
//
// A block computes 128 x 128 values of c, and a thread 8 x 8 of them, as four squares of 4 x 4; or 64 x 64, with one square for each
// thread. Tiles of both factors, 16 deep, lie in shared memory with the depth outermost, so a thread reads four neighbours at once. The
// fours of a row are permuted by the row's place along the depth: without this, threads that transpose rows along the depth would access
// the same banks. The next tiles wait in registers.
#include "products/product.h"

namespace espalier::cuda::ESPALIER_TARGET {

namespace {

// kPart: the rows or columns that the threads cover with four each.
constexpr int kDepth = 16, kThreads = 256, kPart = 64;

template <int size>
__device__ __forceinline__ int place(int k, int i) {
  return k * size + (i ^ (k / 4 % 4 * 8));
}

__device__ __forceinline__ Four load_some(const float* from, int32_t count) {
  if (count >= 4) return load4(from);
  Four v = all4(0);
  if (count > 0) v.x = load(from);
  if (count > 1) v.y = load(from + 1);
  if (count > 2) v.z = load(from + 2);
  return v;
}

// Carries one factor from memory to a tile. `along`: the factor's rows lie along the depth.
template <int tile_size, bool along>
struct Carrier {
  static constexpr int kFours = tile_size * kDepth / 4 / kThreads;
  Four held[kFours];
  __device__ __forceinline__ void fetch(const float* from, int32_t stride, int32_t first, int32_t size, int32_t k, int32_t depth) {
    SIMT_UNROLL
    for (int f = 0; f < kFours; f++) {
      const int at = static_cast<int>(threadIdx.x) + f * kThreads;
      const int32_t row = along ? first + at / (kDepth / 4) : k + at / (tile_size / 4);
      const int32_t col = along ? k + at % (kDepth / 4) * 4 : first + at % (tile_size / 4) * 4;
      const bool inside = row < (along ? size : depth);
      held[f] = load_some(from + int64_t{row} * stride + col, inside ? (along ? depth : size) - col : 0);
    }
  }
  __device__ __forceinline__ void put(float* tile) const {
    SIMT_UNROLL
    for (int f = 0; f < kFours; f++) {
      const int at = static_cast<int>(threadIdx.x) + f * kThreads;
      if constexpr (along) {
        const int i = at / (kDepth / 4), k = at % (kDepth / 4) * 4;
        shared_store(tile + place<tile_size>(k, i), held[f].x);
        shared_store(tile + place<tile_size>(k + 1, i), held[f].y);
        shared_store(tile + place<tile_size>(k + 2, i), held[f].z);
        shared_store(tile + place<tile_size>(k + 3, i), held[f].w);
      } else {
        shared_store(reinterpret_cast<Four*>(tile + place<tile_size>(at / (tile_size / 4), at % (tile_size / 4) * 4)), held[f]);
      }
    }
  }
};

// Takes `count` fours of a tile, which lie kPart apart.
template <int count>
__device__ __forceinline__ void take_fours(float (&v)[4 * count], const float* tile, int k, int first) {
  SIMT_UNROLL
  for (int i = 0; i < count; i++) {
    const Four four = shared_load(reinterpret_cast<const Four*>(tile + place<count * kPart>(k, i * kPart + first)));
    v[4 * i] = four.x, v[4 * i + 1] = four.y, v[4 * i + 2] = four.z, v[4 * i + 3] = four.w;
  }
}

// Stores four neighbours of a row, by one access where they lie at a multiple of their size.
__device__ __forceinline__ void store_four(const ProductArguments<float, float>& g, int32_t row, int32_t col, Four sums) {
  if (row >= g.rows) return;
  float* to = g.c + int64_t{row} * g.c_stride + col;
  if (!g.column_scale && col + 4 <= g.cols && reinterpret_cast<uint64_t>(to) % 16 == 0)
    return store4(to, g.accumulate ? load4(to) + sums : sums);
  if (col < g.cols) store_product(g, to, col, sums.x);
  if (col + 1 < g.cols) store_product(g, to + 1, col + 1, sums.y);
  if (col + 2 < g.cols) store_product(g, to + 2, col + 2, sums.z);
  if (col + 3 < g.cols) store_product(g, to + 3, col + 3, sums.w);
}

}  // namespace

template <int fours, bool transposed>
__global__ void __launch_bounds__(kThreads, 1) product_f32_kernel(ProductArguments<float, float> g) {
  constexpr int kTile = fours * kPart, kEach = 4 * fours;
  SIMT_SHARED(float, a_tiles, 2 * kTile * kDepth);
  SIMT_SHARED(float, b_tiles, 2 * kTile * kDepth);
  const TilePlace tile = place_of_tile(static_cast<int32_t>(blockIdx.x), g.rows, g.cols, kTile, kTile);
  const int down = static_cast<int>(threadIdx.x) / 16 * 4, across = static_cast<int>(threadIdx.x) % 16 * 4;
  DepthCursor next;
  Carrier<kTile, true> a;
  Carrier<kTile, transposed> b;
  const auto fetch_next = [&] {
    const ProductPart<float>& part = g.parts[next.part];
    a.fetch(part.a, part.a_stride, tile.row, g.rows, next.k, part.depth);
    b.fetch(part.b, part.b_stride, tile.col, g.cols, next.k, part.depth);
    next.advance(g, kDepth);
  };
  const auto put_down = [&](int32_t t) {
    a.put(a_tiles + t % 2 * kTile * kDepth);
    b.put(b_tiles + t % 2 * kTile * kDepth);
  };

  const int32_t tiles = tiles_along(g, kDepth);
  fetch_next();
  put_down(0);
  float sums[kEach][kEach] = {};
  for (int32_t t = 0; t < tiles; t++) {
    __syncthreads();  // tile t is there for all threads, and no thread reads tile t - 1 any more
    if (t + 1 < tiles) fetch_next();
    const float *left = a_tiles + t % 2 * kTile * kDepth, *right = b_tiles + t % 2 * kTile * kDepth;
    for (int k = 0; k < kDepth; k++) {
      float x[kEach], y[kEach];
      take_fours<fours>(x, left, k, down);
      take_fours<fours>(y, right, k, across);
      SIMT_UNROLL
      for (int i = 0; i < kEach; i++) {
        SIMT_UNROLL
        for (int j = 0; j < kEach; j++) sums[i][j] = fmaf(x[i], y[j], sums[i][j]);
      }
    }
    count_flops(2 * kEach * kEach * kDepth);
    if (t + 1 < tiles) put_down(t + 1);
  }

  SIMT_UNROLL
  for (int i = 0; i < kEach; i++) {
    SIMT_UNROLL
    for (int f = 0; f < fours; f++) {
      const float* v = &sums[i][4 * f];
      store_four(g, tile.row + i / 4 * kPart + down + i % 4, tile.col + f * kPart + across, {v[0], v[1], v[2], v[3]});
    }
  }
}

void multiply_dense(StreamHandle stream, const ProductArguments<float, float>& g, bool transposed) {
  const auto run = [&](auto kernel, unsigned tiles) { launch_kernel("product_f32", kernel, dim3(tiles), dim3(kThreads), 0, stream, g); };
  if (const unsigned tiles = tile_count(g.rows, g.cols, 2 * kPart, 2 * kPart); tiles >= product_limits().tiles_for_large)
    run(transposed ? product_f32_kernel<2, true> : product_f32_kernel<2, false>, tiles);
  else
    run(transposed ? product_f32_kernel<1, true> : product_f32_kernel<1, false>, tile_count(g.rows, g.cols, kPart, kPart));
}

}  // namespace espalier::cuda::ESPALIER_TARGET

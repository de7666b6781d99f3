// Products of bf16 factors with sums in f32, by the tensor cores' mma.sync instruction.
//
// A block computes a tile of c. Four tiles of both factors, 32 deep, are in shared memory or being copied there (cp.async), so that loads
// hide behind the products of three tiles. Each warp keeps its part of the sums in registers.
//
// Every value is summed 16 products at a time along the depth, whatever the tile. So the size of the tiles may depend on the product's:
// large tiles read less, small ones keep more multiprocessors busy.
#include "products/product.h"
#include "products/tiles_bf16.h"

namespace espalier::cuda::ESPALIER_TARGET {

namespace {

// The values along the depth of a tile, and the tiles that are loaded or being copied.
constexpr int kDepth = 32, kStages = 4;

// A tile of `rows` x `cols`, computed by warps that have `warp_rows` x `warp_cols` each.
template <int rows, int cols, int warp_rows, int warp_cols>
struct Tile {
  static constexpr int kRows = rows, kCols = cols, kWarpRows = warp_rows, kWarpCols = warp_cols;
  static constexpr int kThreads = rows / warp_rows * (cols / warp_cols) * 32;
  static constexpr int kAValues = rows * kDepth, kBValues = cols * kDepth;
  static constexpr uint32_t kSharedBytes = kStages * (kAValues + kBValues) * 2;
  static_assert(kSharedBytes <= kSharedEverywhere);
};
using LargeTile = Tile<128, 128, 64, 32>;
using SmallTile = Tile<64, 64, 32, 32>;

// sums[i][j] += a b for the warp's part of a tile, 16 products for each value; `step` is 0 or 1.
template <class Shape, bool transposed>
__device__ __forceinline__ void multiply_step(float (&sums)[Shape::kWarpRows / 16][Shape::kWarpCols / 8][4], const bf16* a, const bf16* b,
                                              int first_row, int first_col, int step) {
  const int lane = static_cast<int>(threadIdx.x) % 32, matrix = lane / 8, r = lane % 8;
  uint32_t left[Shape::kWarpRows / 16][4];
  SIMT_UNROLL
  for (int i = 0; i < Shape::kWarpRows / 16; i++)
    load_matrices(left[i], a + piece_place<kDepth>(first_row + i * 16 + matrix % 2 * 8 + r, step * 2 + matrix / 2));
  SIMT_UNROLL
  for (int j = 0; j < Shape::kWarpCols / 16; j++) {
    uint32_t pairs[4];
    const int col = first_col + j * 16;
    if constexpr (transposed)
      load_matrices(pairs, b + piece_place<kDepth>(col + matrix / 2 * 8 + r, step * 2 + matrix % 2));
    else
      load_right<Shape::kCols>(pairs, b, step * 16, col);
    const uint32_t first[2] = {pairs[0], pairs[1]}, second[2] = {pairs[2], pairs[3]};
    SIMT_UNROLL
    for (int i = 0; i < Shape::kWarpRows / 16; i++) {
      multiply_bf16(sums[i][2 * j], left[i], first);
      multiply_bf16(sums[i][2 * j + 1], left[i], second);
    }
  }
}

}  // namespace

template <class Shape, class C, bool transposed>
__global__ void __launch_bounds__(Shape::kThreads, 2) product_bf16_kernel(ProductArguments<bf16, C> g) {
  bf16* const a_tiles = dynamic_shared<bf16>();
  bf16* const b_tiles = a_tiles + kStages * Shape::kAValues;
  const TilePlace place = place_of_tile(static_cast<int32_t>(blockIdx.x), g.rows, g.cols, Shape::kRows, Shape::kCols);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int first_row = warp / (Shape::kCols / Shape::kWarpCols) * Shape::kWarpRows;
  const int first_col = warp % (Shape::kCols / Shape::kWarpCols) * Shape::kWarpCols;

  DepthCursor next;
  const auto copy_next = [&](int stage) {
    if (next.part >= g.count) return;
    const ProductPart<bf16>& part = g.parts[next.part];
    copy_tile<Shape::kRows, kDepth, Shape::kThreads>(a_tiles + stage * Shape::kAValues, part.a, part.a_stride, place.row, g.rows, next.k,
                                                     part.depth);
    bf16* const b = b_tiles + stage * Shape::kBValues;
    if constexpr (transposed)
      copy_tile<Shape::kCols, kDepth, Shape::kThreads>(b, part.b, part.b_stride, place.col, g.cols, next.k, part.depth);
    else
      copy_tile<kDepth, Shape::kCols, Shape::kThreads>(b, part.b, part.b_stride, next.k, part.depth, place.col, g.cols);
    next.advance(g, kDepth);
  };

  const int32_t tiles = tiles_along(g, kDepth);
  SIMT_UNROLL
  for (int stage = 0; stage < kStages - 1; stage++) {
    copy_next(stage);
    copy_async_commit();
  }
  float sums[Shape::kWarpRows / 16][Shape::kWarpCols / 8][4] = {};
  for (int32_t t = 0; t < tiles; t++) {
    copy_async_wait<kStages - 2>();
    __syncthreads();  // tile t is there for all threads, and no thread reads tile t - 1 any more, whose place is overwritten next
    copy_next((t + kStages - 1) % kStages);
    copy_async_commit();
    const bf16 *a = a_tiles + t % kStages * Shape::kAValues, *b = b_tiles + t % kStages * Shape::kBValues;
    SIMT_UNROLL
    for (int step = 0; step < kDepth / 16; step++) multiply_step<Shape, transposed>(sums, a, b, first_row, first_col, step);
  }

  SIMT_UNROLL
  for (int i = 0; i < Shape::kWarpRows / 16; i++) {
    SIMT_UNROLL
    for (int j = 0; j < Shape::kWarpCols / 8; j++) {
      const int32_t row = place.row + first_row + i * 16 + lane / 4, col = place.col + first_col + j * 8 + lane % 4 * 2;
      store_pair(g, row, col, sums[i][j][0], sums[i][j][1]);
      store_pair(g, row + 8, col, sums[i][j][2], sums[i][j][3]);
    }
  }
}

namespace {

template <class Shape, class C>
void launch_tiles(StreamHandle stream, const ProductArguments<bf16, C>& g, bool transposed) {
  launch_kernel("product_bf16", transposed ? product_bf16_kernel<Shape, C, true> : product_bf16_kernel<Shape, C, false>,
                dim3(tile_count(g.rows, g.cols, Shape::kRows, Shape::kCols)), dim3(Shape::kThreads), Shape::kSharedBytes, stream, g);
}
template <class C>
void multiply_bf16_as(StreamHandle stream, const ProductArguments<bf16, C>& g, bool transposed) {
  if (tile_count(g.rows, g.cols, LargeTile::kRows, LargeTile::kCols) >= product_limits().tiles_for_large)
    launch_tiles<LargeTile>(stream, g, transposed);
  else
    launch_tiles<SmallTile>(stream, g, transposed);
}

}  // namespace

void multiply_dense(StreamHandle stream, const ProductArguments<bf16, float>& g, bool transposed) {
  multiply_bf16_as(stream, g, transposed);
}
void multiply_dense(StreamHandle stream, const ProductArguments<bf16, bf16>& g, bool transposed) {
  multiply_bf16_as(stream, g, transposed);
}

}  // namespace espalier::cuda::ESPALIER_TARGET

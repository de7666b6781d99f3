// Products of bf16 factors with sums in f32, by the tensor cores' mma.sync instruction.
//
// A block computes a tile of c. Four tiles of both factors, 32 deep, are in shared memory or being copied there (cp.async), so that loads
// hide behind the products of three tiles. The 16-byte pieces of a row are permuted by the row's number (swizzled), so neither the copies
// nor ldmatrix, which reads eight rows of one column of pieces, access a bank twice. Each warp keeps its part of the sums in registers.
//
// Every value is summed 16 products at a time along the depth, whatever the tile. So the size of the tiles may depend on the product's:
// large tiles read less, small ones keep more multiprocessors busy.
#include "product.h"

namespace espalier::cuda::ESPALIER_TARGET {

namespace {

// The values along the depth of a tile, the tiles that are loaded or being copied, and the values in 16 bytes.
constexpr int kDepth = 32, kStages = 4, kPiece = 8;

// A tile of `rows` x `cols`, computed by warps that have `warp_rows` x `warp_cols` each.
template <int rows, int cols, int warp_rows, int warp_cols>
struct Tile {
  static constexpr int kRows = rows, kCols = cols, kWarpRows = warp_rows, kWarpCols = warp_cols;
  static constexpr int kThreads = rows / warp_rows * (cols / warp_cols) * 32;
  static constexpr int kAValues = rows * kDepth, kBValues = cols * kDepth;
  static constexpr uint32_t kSharedBytes = kStages * (kAValues + kBValues) * 2;
};
using LargeTile = Tile<128, 128, 64, 32>;
using SmallTile = Tile<64, 64, 32, 32>;

// The place of piece `piece` of a row, in a tile whose rows lie along the depth (4 pieces in a row) and in one whose rows lie across it.
__device__ __forceinline__ int along_depth(int row, int piece) { return row * kDepth + (piece ^ (row >> 1 & 3)) * kPiece; }
template <int cols>
__device__ __forceinline__ int across_depth(int k, int piece) {
  return k * cols + (piece ^ (k & 7)) * kPiece;
}

__device__ __forceinline__ void copy_piece(bf16* to, const bf16* from, const bf16* valid_address, int32_t values) {
  const int32_t count = values < 0 ? 0 : values > kPiece ? kPiece : values;
  copy_async16(to, count > 0 ? from : valid_address, count * 2);
}

// Copies rows [row, row + tile_rows) of a matrix whose rows lie along the depth, from k on. It writes zeros beyond the matrix.
template <int tile_rows, int threads>
__device__ __forceinline__ void copy_along(bf16* to, const bf16* from, int32_t stride, int32_t row, int32_t rows, int32_t k,
                                           int32_t depth) {
  constexpr int kPieces = kDepth / kPiece;
  for (int i = static_cast<int>(threadIdx.x); i < tile_rows * kPieces; i += threads) {
    const int r = i / kPieces, piece = i % kPieces;
    const int32_t at = k + piece * kPiece;
    copy_piece(to + along_depth(r, piece), from + int64_t{row + r} * stride + at, from, row + r < rows ? depth - at : 0);
  }
}
// Copies columns [col, col + tile_cols) of a matrix whose rows lie across the depth, from k on. It writes zeros beyond the matrix.
template <int tile_cols, int threads>
__device__ __forceinline__ void copy_across(bf16* to, const bf16* from, int32_t stride, int32_t col, int32_t cols, int32_t k,
                                            int32_t depth) {
  constexpr int kPieces = tile_cols / kPiece;
  SIMT_ROLLED
  for (int i = static_cast<int>(threadIdx.x); i < kDepth * kPieces; i += threads) {
    const int r = i / kPieces, piece = i % kPieces;
    const int32_t at = col + piece * kPiece;
    copy_piece(to + across_depth<tile_cols>(r, piece), from + int64_t{k + r} * stride + at, from, k + r < depth ? cols - at : 0);
  }
}

// sums[i][j] += a b for the warp's part of a tile, 16 products for each value; `step` is 0 or 1.
template <class Shape, bool transposed>
__device__ __forceinline__ void multiply_step(float (&sums)[Shape::kWarpRows / 16][Shape::kWarpCols / 8][4], const bf16* a, const bf16* b,
                                              int first_row, int first_col, int step) {
  const int lane = static_cast<int>(threadIdx.x) % 32, matrix = lane / 8, r = lane % 8;
  uint32_t left[Shape::kWarpRows / 16][4];
  SIMT_UNROLL
  for (int i = 0; i < Shape::kWarpRows / 16; i++)
    load_matrices(left[i], a + along_depth(first_row + i * 16 + matrix % 2 * 8 + r, step * 2 + matrix / 2));
  SIMT_UNROLL
  for (int j = 0; j < Shape::kWarpCols / 16; j++) {
    uint32_t pairs[4];
    const int col = first_col + j * 16 + matrix / 2 * 8;
    if constexpr (transposed)
      load_matrices(pairs, b + along_depth(col + r, step * 2 + matrix % 2));
    else
      load_matrices_transposed(pairs, b + across_depth<Shape::kCols>(step * 16 + matrix % 2 * 8 + r, col / kPiece));
    const uint32_t first[2] = {pairs[0], pairs[1]}, second[2] = {pairs[2], pairs[3]};
    SIMT_UNROLL
    for (int i = 0; i < Shape::kWarpRows / 16; i++) {
      multiply_bf16(sums[i][2 * j], left[i], first);
      multiply_bf16(sums[i][2 * j + 1], left[i], second);
    }
  }
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

}  // namespace

template <class Shape, class C, bool transposed>
__global__ void __launch_bounds__(Shape::kThreads, 2) product_bf16_kernel(ProductArguments<bf16, C> g) {
  bf16* const a_tiles = dynamic_shared<bf16>();
  bf16* const b_tiles = a_tiles + kStages * Shape::kAValues;
  const TilePlace place = place_of_tile(g.rows, g.cols, Shape::kRows, Shape::kCols);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int first_row = warp / (Shape::kCols / Shape::kWarpCols) * Shape::kWarpRows;
  const int first_col = warp % (Shape::kCols / Shape::kWarpCols) * Shape::kWarpCols;

  DepthCursor next;
  const auto copy_next = [&](int stage) {
    if (next.part >= g.count) return;
    const ProductPart<bf16>& part = g.parts[next.part];
    copy_along<Shape::kRows, Shape::kThreads>(a_tiles + stage * Shape::kAValues, part.a, part.a_stride, place.row, g.rows, next.k,
                                              part.depth);
    if constexpr (transposed)
      copy_along<Shape::kCols, Shape::kThreads>(b_tiles + stage * Shape::kBValues, part.b, part.b_stride, place.col, g.cols, next.k,
                                                part.depth);
    else
      copy_across<Shape::kCols, Shape::kThreads>(b_tiles + stage * Shape::kBValues, part.b, part.b_stride, place.col, g.cols, next.k,
                                                 part.depth);
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

// Products of bf16 factors with sums in f32 on Hopper cards, by wgmma and by copies of whole tiles.
//
// A block is one warpgroup that copies and two that multiply. A stage in shared memory holds a tile of both factors, 64 deep. One thread
// fills the stages, as far ahead as they are empty. Each multiplying warpgroup computes 64 rows of the block's tile of c and keeps their
// sums in registers. A block computes one tile after the other, so the stages of the next tile fill while sums are stored.
//
// Every value is summed 16 products at a time along the depth, part after part, as in product_bf16.cu. So LoRA's parts, scales of columns
// and rounding need no pass of their own. Nor does the rotary embedding: a thread has both values that are turned together, since a tile
// has whole heads and the thread every eighth pair of a row's columns.
#include <algorithm>

#include "hopper_instructions.h"
#include "products/product.h"

namespace espalier::cuda::ESPALIER_TARGET {

namespace {

constexpr int kRows = 128, kCols = 256, kDepth = kBoxCols, kStages = 4;
constexpr int kMultiplyingGroups = 2, kThreadsOfGroup = 128, kThreads = (1 + kMultiplyingGroups) * kThreadsOfGroup;
constexpr int kRowsOfGroup = kRows / kMultiplyingGroups;
constexpr uint32_t kABytes = kRows * kDepth * 2, kBBytes = kCols * kDepth * 2, kStageBytes = kABytes + kBBytes;
constexpr uint32_t kAlignment = 1024;  // the alignment of tiles in bytes
constexpr uint32_t kSharedBytes = kStages * kStageBytes + kAlignment + 2 * kStages * sizeof(PhaseBarrier);

// Bytes between eight rows of 128 bytes and the next eight, and between the boxes of a factor whose rows go across the depth.
constexpr uint32_t kEightRows = 1024, kNextBox = kDepth * 128;

// The registers of a thread that copies and of one that multiplies. Together they are at most the 65,536 of a multiprocessor.
constexpr int kCopyingRegisters = 40, kMultiplyingRegisters = 232;

template <class C>
struct HopperArguments {
  ProductArguments<bf16, C> product;
  TileMap a[6], b[6];  // the factors of the parts
  Turning turning;
};

struct Shared {
  std::byte* stages;
  PhaseBarrier *filled, *emptied;  // one for each stage
};

__device__ __forceinline__ Shared shared_of_block() {
  std::byte* const all = dynamic_shared<std::byte>();
  const uint32_t misplaced = shared_address(all) % kAlignment;
  std::byte* const stages = all + (misplaced == 0 ? 0 : kAlignment - misplaced);
  auto* const barriers = reinterpret_cast<PhaseBarrier*>(stages + kStages * kStageBytes);
  return {stages, barriers, barriers + kStages};
}

// A stage's place and parity, in the order in which stages are used.
struct StageCursor {
  int stage = 0;
  unsigned parity = 0;
  __device__ __forceinline__ void advance() {
    if (++stage == kStages) stage = 0, parity ^= 1;
  }
};

// Copies all tiles of all parts for the tiles of c that this block computes.
template <class C, bool transposed>
__device__ __forceinline__ void copy_tiles(const HopperArguments<C>& h, const Shared& shared, int32_t tiles_of_c, int32_t along) {
  const ProductArguments<bf16, C>& g = h.product;
  StageCursor at;
  for (auto id = static_cast<int32_t>(blockIdx.x); id < tiles_of_c; id += static_cast<int32_t>(gridDim.x)) {
    const TilePlace place = place_of_tile(id, g.rows, g.cols, kRows, kCols);
    DepthCursor next;
    for (int32_t t = 0; t < along; t++) {
      std::byte *const a = shared.stages + at.stage * kStageBytes, *const b = a + kABytes;
      PhaseBarrier* const filled = shared.filled + at.stage;
      wait_for_phase(shared.emptied + at.stage, at.parity ^ 1);
      arrive_expecting(filled, kStageBytes);
      copy_box(a, h.a[next.part], place.row, next.k, filled);
      if constexpr (transposed) {
        copy_box(b, h.b[next.part], place.col, next.k, filled);
      } else {
        SIMT_UNROLL
        for (int i = 0; i < kCols / kBoxCols; i++) copy_box(b + i * kNextBox, h.b[next.part], next.k, place.col + i * kBoxCols, filled);
      }
      next.advance(g, kDepth);
      at.advance();
    }
  }
}

// Stores the rows of one warpgroup. `first_row` is the warp's first row of c.
template <class C>
__device__ __forceinline__ void store_sums(const ProductArguments<bf16, C>& g, const float (&sums)[128], int32_t first_row,
                                           int32_t first_col) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int32_t row = first_row + lane / 4;
  SIMT_UNROLL
  for (int j = 0; j < kCols / 8; j++) {
    const int32_t col = first_col + j * 8 + lane % 4 * 2;
    store_pair(g, row, col, sums[4 * j], sums[4 * j + 1]);
    store_pair(g, row + 8, col, sums[4 * j + 2], sums[4 * j + 3]);
  }
}

// Stores one row of a warpgroup's sums, which begin at `first` with the pairs of every eighth column. Heads of 2 kHalf columns are turned
// as attention_operands.cu turns them, in the same bits.
template <int kHalf>
__device__ __forceinline__ void store_turned_row(const HopperArguments<bf16>& h, const float (&sums)[128], int first, int32_t row,
                                                 int32_t first_col) {
  if (row >= h.product.rows) return;
  const Turning& t = h.turning;
  const int of_pair = static_cast<int>(threadIdx.x) % 4 * 2;
  const int32_t angles = row % t.tokens * kHalf + of_pair;
  SIMT_UNROLL
  for (int j = 0; j < kCols / 8; j++) {
    if (j % (kHalf / 4) >= kHalf / 8) continue;
    const int32_t angle = angles + j % (kHalf / 4) * 8, col = first_col + j * 8 + of_pair;
    const auto c = load(reinterpret_cast<const Pair<float>*>(t.cos + angle)), s = load(reinterpret_cast<const Pair<float>*>(t.sin + angle));
    const int low = 4 * j + first, high = low + kHalf / 2;
    const float x0 = sums[low] * t.scale, x1 = sums[low + 1] * t.scale, y0 = sums[high] * t.scale, y1 = sums[high + 1] * t.scale;
    store_pair(h.product, row, col, fmaf(x0, c.first, -(y0 * s.first)), fmaf(x1, c.second, -(y1 * s.second)));
    store_pair(h.product, row, col + kHalf, fmaf(y0, c.first, x0 * s.first), fmaf(y1, c.second, x1 * s.second));
  }
}

template <class C, bool transposed, int kHalf>
__device__ __forceinline__ void multiply_tiles(const HopperArguments<C>& h, const Shared& shared, int32_t tiles_of_c, int32_t along,
                                               int group) {
  const ProductArguments<bf16, C>& g = h.product;
  const int warp = static_cast<int>(threadIdx.x) % kThreadsOfGroup / 32;
  const bool speaks = threadIdx.x % 32 == 0;  // for its warp
  float sums[128];
  StageCursor at;
  for (auto id = static_cast<int32_t>(blockIdx.x); id < tiles_of_c; id += static_cast<int32_t>(gridDim.x)) {
    int before = 0;  // the stage whose product may still run
    for (int32_t t = 0; t < along; t++) {
      const std::byte *const a = shared.stages + at.stage * kStageBytes + group * kRowsOfGroup * 128, *const b = shared.stages +
                                                                                                                 at.stage * kStageBytes +
                                                                                                                 kABytes;
      wait_for_phase(shared.filled + at.stage, at.parity);
      begin_group();
      SIMT_UNROLL
      for (int step = 0; step < kDepth / 16; step++)
        multiply_group_bf16<!transposed>(
            sums, describe_factor(a + step * 32, 0, kEightRows),
            transposed ? describe_factor(b + step * 32, 0, kEightRows) : describe_factor(b + step * 2 * kEightRows, kNextBox, kEightRows),
            t > 0 || step > 0);
      end_group();
      if (t > 0) {
        wait_for_groups<1>(sums);
        if (speaks) arrive(shared.emptied + before);
      }
      before = at.stage;
      at.advance();
    }
    wait_for_groups<0>(sums);
    if (speaks) arrive(shared.emptied + before);
    const TilePlace place = place_of_tile(id, g.rows, g.cols, kRows, kCols);
    const int32_t row = place.row + group * kRowsOfGroup + warp * 16;
    if constexpr (kHalf > 0) {
      store_turned_row<kHalf>(h, sums, 0, row + static_cast<int32_t>(threadIdx.x) % 32 / 4, place.col);
      store_turned_row<kHalf>(h, sums, 2, row + static_cast<int32_t>(threadIdx.x) % 32 / 4 + 8, place.col);
    } else {
      store_sums(g, sums, row, place.col);
    }
  }
}

}  // namespace

// kHalf: half a head's columns, where heads are turned, else 0.
template <class C, bool transposed, int kHalf>
__global__ void __launch_bounds__(kThreads, 1) product_hopper_kernel(const __grid_constant__ HopperArguments<C> h) {
  const Shared shared = shared_of_block();
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; i++) {
      start_barrier(shared.filled + i, 1);
      start_barrier(shared.emptied + i, kMultiplyingGroups * kThreadsOfGroup / 32);
    }
    show_barriers();
  }
  __syncthreads();
  const ProductArguments<bf16, C>& g = h.product;
  const auto tiles_of_c = static_cast<int32_t>(tile_count(g.rows, g.cols, kRows, kCols));
  const int32_t along = tiles_along(g, kDepth);
  const int group = static_cast<int>(threadIdx.x) / kThreadsOfGroup;
  if (group == kMultiplyingGroups) {
    give_registers<kCopyingRegisters>();
    if (threadIdx.x % kThreadsOfGroup == 0) copy_tiles<C, transposed>(h, shared, tiles_of_c, along);
  } else {
    take_registers<kMultiplyingRegisters>();
    multiply_tiles<C, transposed, kHalf>(h, shared, tiles_of_c, along, group);
  }
}

namespace {

template <class C, bool transposed, int kHalf = 0>
void multiply_on_hopper_as(StreamHandle stream, const ProductArguments<bf16, C>& g, int multiprocessors, const Turning& turning = {}) {
  HopperArguments<C> h{};
  h.product = g;
  h.turning = turning;
  for (int i = 0; i < g.count; i++) {
    const ProductPart<bf16>& part = g.parts[i];
    h.a[i] = make_tile_map(part.a, g.rows, part.depth, part.a_stride, kRows);
    h.b[i] = transposed ? make_tile_map(part.b, g.cols, part.depth, part.b_stride, kCols)
                        : make_tile_map(part.b, part.depth, g.cols, part.b_stride, kDepth);
  }
  const unsigned tiles = tile_count(g.rows, g.cols, kRows, kCols);
  launch_kernel(kHalf > 0 ? "product_hopper_turned" : "product_hopper", product_hopper_kernel<C, transposed, kHalf>,
                dim3(std::min(tiles, static_cast<unsigned>(multiprocessors))), dim3(kThreads), kSharedBytes, stream, h);
}

}  // namespace

void multiply_on_hopper(StreamHandle stream, const ProductArguments<bf16, float>& g, bool transposed, int multiprocessors) {
  transposed ? multiply_on_hopper_as<float, true>(stream, g, multiprocessors)
             : multiply_on_hopper_as<float, false>(stream, g, multiprocessors);
}
void multiply_on_hopper(StreamHandle stream, const ProductArguments<bf16, bf16>& g, bool transposed, int multiprocessors) {
  transposed ? multiply_on_hopper_as<bf16, true>(stream, g, multiprocessors)
             : multiply_on_hopper_as<bf16, false>(stream, g, multiprocessors);
}

bool can_turn_on_hopper(int64_t half) { return half == 32 || half == 64; }
void multiply_and_turn_on_hopper(StreamHandle stream, const ProductArguments<bf16, bf16>& g, const Turning& turning, int multiprocessors) {
  turning.half == 64 ? multiply_on_hopper_as<bf16, true, 64>(stream, g, multiprocessors, turning)
                     : multiply_on_hopper_as<bf16, true, 32>(stream, g, multiprocessors, turning);
}

}  // namespace espalier::cuda::ESPALIER_TARGET

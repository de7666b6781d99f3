// The parts that attention's kernels share: tiles of a head's rows in shared memory, and products of such tiles whose results stay in
// registers.
//
// A block has kRows rows (queries, or keys and values in their gradient), 16 for each warp, and goes along the other side in tiles of some
// columns. Rows are filled up with zeros to kDim values. A row has kChunk more values of room, so that the rows of a matrix that is loaded
// lie in different banks. For head sizes over 128 two warps share 16 rows: both compute all scores, and each keeps half of the results,
// since all of them would need too many registers.
//
// Scores and results lie as mma leaves them (instructions.h): with g = lane / 4 and t = 2 (lane % 4), a thread has the values (g, t) (g, t
// + 1) (g + 8, t) (g + 8, t + 1) of each 8 columns. bf16 is multiplied by mma, f32 by fused multiply-adds in the same places.
#pragma once
#include <initializer_list>
#include <string>

#include "device/ops.h"
#include "exp2.h"
#include "reduce.h"
#include "tensors/tensor_values.h"

namespace espalier::cuda::ESPALIER_TARGET {

template <class T, int Dim>
struct AttentionTile {
  static constexpr int kDim = Dim, kChunk = 16 / static_cast<int>(sizeof(T)), kStride = kDim + kChunk;
  static constexpr int kShares = kDim > 128 ? 2 : 1, kOwn = kDim / kShares;  // kOwn: the columns of a result that a warp keeps
  static constexpr int kRowWarps = kDim * sizeof(T) > 512 ? 2 : 4, kRows = 16 * kRowWarps, kThreads = kRowWarps * kShares * kWarpSize;
  static constexpr int kForwardCols = kDim * sizeof(T) > 256 ? 32 : 64, kBackwardCols = kDim * sizeof(T) > 256 ? 16 : 32;
  static constexpr int kSumStride = kDim + 8;  // the stride of the results, which are f32 in shared memory

  static constexpr uint32_t bytes(int rows) { return static_cast<uint32_t>(rows) * kStride * sizeof(T); }
  static constexpr uint32_t at_least_sums(uint32_t other) {
    const uint32_t sums = static_cast<uint32_t>(kRows) * kSumStride * sizeof(float);
    return other > sums ? other : sums;
  }
  static constexpr uint32_t stages_of_backward(int count) { return bytes(2 * kRows + count * 2 * kBackwardCols); }
  static constexpr int kBackwardStages = stages_of_backward(2) > kSharedEverywhere ? 1 : 2;
  static constexpr uint32_t kForwardBytes = at_least_sums(bytes(kRows + 2 * kForwardCols)),
                            kBackwardBytes = at_least_sums(stages_of_backward(kBackwardStages));
  static_assert(kForwardBytes <= kSharedEverywhere && kBackwardBytes <= kSharedEverywhere);
};

struct alignas(8) Two {
  float x, y;
};

// The rows and columns of the block that a thread has.
template <class Tile>
struct Place {
  int lane = static_cast<int>(threadIdx.x) % kWarpSize, warp = static_cast<int>(threadIdx.x) / kWarpSize;
  int g = lane / 4, t = 2 * (lane % 4);
  int row = warp / Tile::kShares * 16;          // the first of the warp's rows
  int own = warp % Tile::kShares * Tile::kOwn;  // the first of the warp's own columns
};

// Copies rows [first, first + Rows) of a head to shared memory. The copy goes on until copies are waited for. It writes zeros for rows from
// `limit` on and behind the head's columns.
template <class Tile, int Rows, class T>
__device__ __forceinline__ void fetch_rows(T* shared, Matrix<T> from, int first, int limit, int head_dim) {
  constexpr int kChunks = Tile::kDim / Tile::kChunk;
  SIMT_ROLLED
  for (int i = static_cast<int>(threadIdx.x); i < Rows * kChunks; i += Tile::kThreads) {
    const int r = i / kChunks, c = i % kChunks * Tile::kChunk;
    const bool there = first + r < limit && c < head_dim;
    copy_async16(shared + r * Tile::kStride + c, there ? from.row(first + r) + c : from.data, there ? 16 : 0);
  }
}

// scores = a b^T, for 16 rows of a and Cols rows of b.
template <class Tile, int Cols>
__device__ __forceinline__ void multiply_rows(float (&scores)[Cols / 8][4], const bf16* a, const bf16* b, const Place<Tile>& at) {
  SIMT_UNROLL
  for (auto& c : scores) c[0] = c[1] = c[2] = c[3] = 0;
  const int r = at.lane % 8, m = at.lane / 8;
  const bf16* left = a + (m % 2 * 8 + r) * Tile::kStride + m / 2 * 8;
  const bf16* right = b + (m / 2 * 8 + r) * Tile::kStride + m % 2 * 8;
  SIMT_ROLLED  // unrolled, the keys' gradient would spill registers
      for (int k = 0; k < Tile::kDim; k += 16) {
    uint32_t x[4];
    load_matrices(x, left + k);
    SIMT_UNROLL
    for (int n = 0; n < Cols / 8; n += 2) {
      uint32_t y[4];
      load_matrices(y, right + n * 8 * Tile::kStride + k);
      multiply_bf16(scores[n], x, {y[0], y[1]});
      multiply_bf16(scores[n + 1], x, {y[2], y[3]});
    }
  }
}
template <class Tile, int Cols>
__device__ __forceinline__ void multiply_rows(float (&scores)[Cols / 8][4], const float* a, const float* b, const Place<Tile>& at) {
  SIMT_UNROLL
  for (auto& c : scores) c[0] = c[1] = c[2] = c[3] = 0;
  const auto four = [](const float* p) { return shared_load(reinterpret_cast<const Four*>(p)); };
  const auto dot = [](Four x, Four y, float sum) { return fmaf(x.w, y.w, fmaf(x.z, y.z, fmaf(x.y, y.y, fmaf(x.x, y.x, sum)))); };
  SIMT_ROLLED
  for (int k = 0; k < Tile::kDim; k += 4) {
    const Four x0 = four(a + at.g * Tile::kStride + k), x1 = four(a + (at.g + 8) * Tile::kStride + k);
    SIMT_UNROLL
    for (int n = 0; n < Cols / 8; n++) {
      const Four y0 = four(b + (8 * n + at.t) * Tile::kStride + k), y1 = four(b + (8 * n + at.t + 1) * Tile::kStride + k);
      scores[n][0] = dot(x0, y0, scores[n][0]);
      scores[n][1] = dot(x0, y1, scores[n][1]);
      scores[n][2] = dot(x1, y0, scores[n][2]);
      scores[n][3] = dot(x1, y1, scores[n][3]);
    }
  }
}

template <int Cols>
__device__ __forceinline__ void cap_scores(float (&scores)[Cols / 8][4], const SoftCapBy& cap) {
  SIMT_UNROLL
  for (auto& c : scores) {
    SIMT_UNROLL
    for (int e = 0; e < 4; e++) c[e] = cap.capped(c[e]);
  }
}

// The sums of a warp's 16 rows, and the weights with which rows in shared memory are added to them.
template <class Tile, int Cols>
struct Weighted {
  float (&sums)[Tile::kOwn / 8][4];
  const float (&weights)[Cols / 8][4];
};

// Adds weights b to each of the sums, with the weights rounded to T, and Cols rows of b, which are read once for all sums. Only the columns
// of b from `own` on are used.
template <class Tile, int Cols, class... W>
__device__ __forceinline__ void add_weighted(const bf16* b, const Place<Tile>& at, W... each) {
  const int r = at.lane % 8, m = at.lane / 8;
  const bf16* right = b + (m % 2 * 8 + r) * Tile::kStride + at.own + m / 2 * 8;
  SIMT_UNROLL
  for (int k = 0; k < Cols / 16; k++) {
    uint32_t left[sizeof...(W)][4];
    int i = 0;
    const auto round = [&](const auto& w) {
      const auto& low = w.weights[2 * k];
      const auto& high = w.weights[2 * k + 1];
      left[i][0] = bf16_pair(low[0], low[1]);
      left[i][1] = bf16_pair(low[2], low[3]);
      left[i][2] = bf16_pair(high[0], high[1]);
      left[i++][3] = bf16_pair(high[2], high[3]);
    };
    (round(each), ...);
    SIMT_UNROLL
    for (int n = 0; n < Tile::kOwn / 8; n += 2) {
      uint32_t y[4];
      load_matrices_transposed(y, right + k * 16 * Tile::kStride + n * 8);
      i = 0;
      const auto multiply = [&](const auto& w) {
        multiply_bf16(w.sums[n], left[i], {y[0], y[1]});
        multiply_bf16(w.sums[n + 1], left[i++], {y[2], y[3]});
      };
      (multiply(each), ...);
    }
  }
}
template <class Tile, int Cols, class... W>
__device__ __forceinline__ void add_weighted(const float* b, const Place<Tile>& at, W... each) {
  SIMT_UNROLL
  for (int k = 0; k < Cols; k++) {
    // The lane with the largest t that is not above k % 8 holds weight k of a row.
    const int lane = at.g * 4 + k % 8 / 2;
    float left[sizeof...(W)][2];
    int i = 0;
    const auto take = [&](const auto& w) {
      left[i][0] = shuffle(w.weights[k / 8][k % 2], lane);
      left[i++][1] = shuffle(w.weights[k / 8][2 + k % 2], lane);
    };
    (take(each), ...);
    SIMT_UNROLL
    for (int n = 0; n < Tile::kOwn / 8; n++) {
      const Two y = shared_load(reinterpret_cast<const Two*>(b + k * Tile::kStride + at.own + 8 * n + at.t));
      i = 0;
      const auto multiply = [&](const auto& w) {
        w.sums[n][0] = fmaf(left[i][0], y.x, w.sums[n][0]);
        w.sums[n][1] = fmaf(left[i][0], y.y, w.sums[n][1]);
        w.sums[n][2] = fmaf(left[i][1], y.x, w.sums[n][2]);
        w.sums[n][3] = fmaf(left[i++][1], y.y, w.sums[n][3]);
      };
      (multiply(each), ...);
    }
  }
}

// Writes the results, multiplied by one factor for each of the two rows, to shared memory [kRows, kSumStride] that no other thread reads
// any more.
template <class Tile>
__device__ __forceinline__ void put_sums(float* shared, const float (&sums)[Tile::kOwn / 8][4], float low, float high,
                                         const Place<Tile>& at) {
  float* row = shared + (at.row + at.g) * Tile::kSumStride + at.own + at.t;
  SIMT_UNROLL
  for (int n = 0; n < Tile::kOwn / 8; n++) {
    shared_store(reinterpret_cast<Two*>(row + 8 * n), Two{sums[n][0] * low, sums[n][1] * low});
    shared_store(reinterpret_cast<Two*>(row + 8 * Tile::kSumStride + 8 * n), Two{sums[n][2] * high, sums[n][3] * high});
  }
}

// Adds the values of the four lanes that share a row.
__device__ __forceinline__ float row_sum(float v) {
  v += shuffle_xor(v, 1);
  return v + shuffle_xor(v, 2);
}

// Where heads lie, and which keys a query sees. Tokens are numbered within a row of the batch.
struct AttentionPlan {
  int64_t batch;
  int tokens, heads, kv_heads, head_dim;
  int window;  // 0: full causal attention
  int64_t query_width, kv_width;
  const int32_t* kv_of_head;

  __device__ __forceinline__ bool sees(int query, int key) const {
    return key <= query && query < tokens && (window == 0 || key > query - window);
  }
  // Tell whether all queries from `query` to `last_query` see all keys from `key` to `last_key`, and whether none of them sees any.
  __device__ __forceinline__ bool all_see(int query, int last_query, int key, int last_key) const {
    return last_key <= query && last_query < tokens && (window == 0 || key > last_query - window);
  }
  __device__ __forceinline__ bool none_sees(int query, int last_query, int key, int last_key) const {
    return key > last_query || query >= tokens || (window > 0 && last_key <= query - window);
  }
  // Returns the first key that the queries from `query` on see.
  __device__ __forceinline__ int oldest_key(int query) const { return window > 0 && query >= window ? query - window + 1 : 0; }
};

inline AttentionPlan plan_of(const AttentionShape& s) {
  const auto number = [](int64_t n) { return static_cast<int>(n); };
  // A window that is as long as the row has no effect.
  return {s.batch,
          number(s.tokens),
          number(s.heads),
          number(s.kv_heads),
          number(s.head_dim),
          s.window < s.tokens ? number(s.window) : 0,
          s.query_width,
          s.kv_width,
          list(s.kv_of_head, s.heads)};
}

// Stages of tiles of the backward pass in shared memory, each with kBackwardCols rows of two matrices.
template <class Tile, class T>
struct Stages {
  static constexpr bool kTwo = Tile::kBackwardStages == 2;
  T* memory;
  int stage = 0;  // the one that is computed with

  __device__ __forceinline__ T* first(int of) const { return memory + of * 2 * Tile::kBackwardCols * Tile::kStride; }
  __device__ __forceinline__ T* second(int of) const { return first(of) + Tile::kBackwardCols * Tile::kStride; }
  __device__ __forceinline__ void fetch(int of, Matrix<T> a, Matrix<T> b, int row, const AttentionPlan& p) const {
    fetch_rows<Tile, Tile::kBackwardCols>(first(of), a, row, p.tokens, p.head_dim);
    fetch_rows<Tile, Tile::kBackwardCols>(second(of), b, row, p.tokens, p.head_dim);
    copy_async_commit();
  }
  // Calls fetch_next(stage) as soon as that stage is free: the other one when a tile is there for all threads, the only one when all have
  // read it.
  template <class F>
  __device__ __forceinline__ void tile_is_there(F&& fetch_next) const {
    if constexpr (kTwo) fetch_next(stage ^ 1);
  }
  template <class F>
  __device__ __forceinline__ void tile_is_read(F&& fetch_next) {
    if constexpr (kTwo) {
      stage ^= 1;
    } else {
      __syncthreads();
      fetch_next(0);
    }
  }
  // Returns memory that no thread reads any more, after the last tile.
  __device__ __forceinline__ double* free_space() const { return reinterpret_cast<double*>(first(stage)); }
};

// Returns the part of the tensor from this column and this row on.
template <class T>
__device__ __forceinline__ Matrix<T> part_of(Matrix<T> m, int64_t row, int64_t column) {
  return {m.data + row * m.stride + column, m.stride};
}

// Calls f with a tile for heads of this size. Rows of a head are copied 16 bytes at a time, so the tensors in `fetched` must be aligned.
template <class T, class F>
void with_head_size(const AttentionShape& s, std::initializer_list<const Tensor*> fetched, F&& f) {
  constexpr int64_t kChunk = 16 / sizeof(T);
  if (s.head_dim % 8 != 0 || s.head_dim > 256)
    throw Error(ErrorCode::kNotSupported, "head_dim",
                "on CUDA a head's size is a multiple of 8 up to 256, not " + std::to_string(s.head_dim));
  for (const Tensor* t : fetched)
    if (t->data.address() % 16 != 0 || t->stride % kChunk != 0 || s.query_width % kChunk != 0 || s.kv_width % kChunk != 0)
      throw Error(ErrorCode::kInternal, "backend", "attention's operands begin or continue at no multiple of 16 bytes");
  if (s.head_dim <= 64) return f(AttentionTile<T, 64>{});
  if constexpr (sizeof(T) == 2)
    if (s.head_dim <= 96) return f(AttentionTile<T, 96>{});
  if (s.head_dim <= 128) return f(AttentionTile<T, 128>{});
  f(AttentionTile<T, 256>{});
}

}  // namespace espalier::cuda::ESPALIER_TARGET

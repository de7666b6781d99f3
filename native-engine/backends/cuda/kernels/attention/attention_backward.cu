// Gradients of attention by queries, keys and values, from the operands, dout [N, heads, D] and the base-2 log-sum-exp of each query.
//
// There are two kernels, both without atomics. Each computes the probabilities p and their gradients dp = dout . value again.
//  - Queries: a block has 64 queries of one head and goes along their keys once. The gradient of a score is ds = p (dp - delta), and
//    delta = sum p dp / sum p is known only after the last key. So a query takes a guess from the first keys that it sees, and adds both
//    p (dp - guess) and p times the keys: the first sum less (delta - guess) times the second is the gradient. The guess keeps the sums
//    small: with 0 in its place most of them would cancel, after they were rounded. delta is dout . out, but with the rounded output the
//    gradients of a query's scores would not add up to 0. A block's deltas are added in double, then those of a head's blocks: head_dot.
//  - Keys: a block has 64 keys of one key/value head and goes along the queries that see them, one head of the group after the other. Its
//    scores are transposed, with a row for each key and a column for each query. So both sums are products of registers with rows in shared
//    memory, as in the forward pass.
// That makes 8 products of 2 D FLOPs for each pair, where 5 would do with atomics. At 512 tokens attention is a hundredth of a step. Both
// kernels have two stages of shared memory: the rows of the next tile are copied while a tile is computed. A warp leaves out tiles of which
// its rows see nothing. For heads over 128 in f32 two stages are more than a block may take on some cards, so there is one on all: a
// smaller tile would make another guess, and so other bits.
//
// Operands are rotated and scaled, so the gradients are rotated back, and multiplied by the scale of scores for queries and by ln 2 for
// keys, since the queries contain the rest of the scale. The kernel of the queries computes with dout as it is, and multiplies its sums by
// the head's factor of dout. The kernel of the keys multiplies the probabilities, of which both of its sums are made.
// Where dqkv overwrites the operands, the queries' gradients wait in memory of the backend until the kernel of the keys has read the
// queries. Of the keys and values, a block of that kernel reads only what it overwrites itself.
#include "attention/attention_tile.h"
#include "cuda_backend.h"

namespace espalier::cuda::ESPALIER_TARGET {

template <class T>
struct AttentionBackwardArguments {
  AttentionPlan plan;
  Matrix<T> operands, dout;
  Matrix<T> dquery, dqkv;
  const float *lse, *rope_cos, *rope_sin;
  float* delta;       // [heads, N], of dout without its factor
  double* head_sums;  // [heads, batch, blocks of queries]
  float query_scale;
  const float* dout_scale;  // nullptr stands for ones
  SoftCapBy cap;

  __device__ __forceinline__ float scale(int head) const { return dout_scale ? load(dout_scale + head * plan.head_dim) : 1.0f; }
};

// Computes p and dp over a tile of rows a and columns b: (queries, keys) with (dout, values), or (keys, queries) with (values, dout).
template <class Tile, int Cols, class T>
__device__ __forceinline__ void scores_and_gradients(float (&p)[Cols / 8][4], float (&dp)[Cols / 8][4], const T* a, const T* da, const T* b,
                                                     const T* db, const Place<Tile>& at) {
  multiply_rows<Tile, Cols>(p, a + at.row * Tile::kStride, b, at);
  multiply_rows<Tile, Cols>(dp, da + at.row * Tile::kStride, db, at);
}

// Writes rows of results [kRows, kSumStride] to a head's columns, scaled, and rotated back where there are angles.
template <class Tile, class T>
__device__ __forceinline__ void write_rows(const float* rows, Matrix<T> to, int first, int count, int head_dim, const float* cos,
                                           const float* sin, float scale) {
  const int half = head_dim / 2;
  for (int i = static_cast<int>(threadIdx.x); i < count * half; i += Tile::kThreads) {
    const int r = i / half, j = i % half;
    float low = shared_load(rows + r * Tile::kSumStride + j) * scale, high = shared_load(rows + r * Tile::kSumStride + half + j) * scale;
    if (cos) {
      const int64_t angle = int64_t{first + r} * half + j;
      const float c = load(cos + angle), s = load(sin + angle), a = low, b = high;
      low = fmaf(a, c, b * s);
      high = fmaf(b, c, -(a * s));
    }
    store1(to.row(first + r) + j, low);
    store1(to.row(first + r) + half + j, high);
  }
}

template <class Tile, bool Caps, class T>
__global__ void __launch_bounds__(Tile::kThreads, 1) attention_backward_queries_kernel(AttentionBackwardArguments<T> a) {
  constexpr int kCols = Tile::kBackwardCols;
  const AttentionPlan& p = a.plan;
  const Place<Tile> at;
  T* queries = dynamic_shared<T>();
  T* dout = queries + Tile::kRows * Tile::kStride;
  Stages<Tile, T> tiles{dout + Tile::kRows * Tile::kStride};  // keys and values
  const int64_t begin_row = int64_t{blockIdx.z} * p.tokens, all_rows = p.batch * p.tokens;
  const int head = static_cast<int>(blockIdx.y), kv = load(p.kv_of_head + head);
  const int first = static_cast<int>(gridDim.x - 1 - blockIdx.x) * Tile::kRows;
  const int end = first + Tile::kRows < p.tokens ? first + Tile::kRows : p.tokens;
  const Matrix<T> key_rows = part_of(a.operands, begin_row, p.query_width + kv * p.head_dim),
                  value_rows = part_of(a.operands, begin_row, p.query_width + p.kv_width + kv * p.head_dim);
  int key = p.oldest_key(first) / kCols * kCols;
  fetch_rows<Tile, Tile::kRows>(queries, part_of(a.operands, begin_row, head * p.head_dim), first, p.tokens, p.head_dim);
  fetch_rows<Tile, Tile::kRows>(dout, part_of(a.dout, begin_row, head * p.head_dim), first, p.tokens, p.head_dim);
  tiles.fetch(0, key_rows, value_rows, key, p);
  const int warp_first = first + at.row, query = warp_first + at.g;
  const int64_t query_at = head * all_rows + begin_row + query;
  float lse[2], guess[2] = {}, dots[2] = {}, masses[2] = {};  // for rows g and g + 8; dots and masses cover only the thread's own columns
  bool guessed[2];
  for (int half = 0; half < 2; half++) {
    const bool there = query + 8 * half < p.tokens;
    lse[half] = there ? load(a.lse + query_at + 8 * half) : 0.0f;
    guessed[half] = !there;
  }
  float sums[Tile::kOwn / 8][4] = {}, key_sums[Tile::kOwn / 8][4] = {};
  const auto fetch_next = [&](int stage) {
    if (key + kCols < end) tiles.fetch(stage, key_rows, value_rows, key + kCols, p);
  };
  for (; key < end; tiles.tile_is_read(fetch_next), key += kCols) {
    copy_async_wait<0>();
    __syncthreads();  // the tile is there for all threads, and all have read the other stage
    tiles.tile_is_there(fetch_next);
    if (p.none_sees(warp_first, warp_first + 15, key, key + kCols - 1)) continue;
    const T* keys = tiles.first(tiles.stage);
    float prob[kCols / 8][4], dprob[kCols / 8][4];
    scores_and_gradients<Tile, kCols>(prob, dprob, queries, dout, keys, tiles.second(tiles.stage), at);
    const bool all = p.all_see(warp_first, warp_first + 15, key, key + kCols - 1);
    SIMT_UNROLL
    for (int n = 0; n < kCols / 8; n++) {
      SIMT_UNROLL
      for (int e = 0; e < 4; e++) {
        const int half = e / 2;
        const bool sees = all || p.sees(query + 8 * half, key + 8 * n + at.t + e % 2);
        if constexpr (Caps) prob[n][e] = a.cap.capped(prob[n][e]);
        const float score = prob[n][e];
        prob[n][e] = sees ? fast_exp2(score - lse[half]) : 0.0f;
        dots[half] = fmaf(prob[n][e], dprob[n][e], dots[half]);
        masses[half] += prob[n][e];
        // Both sums of this kernel take the gradient back through the cap.
        if constexpr (Caps) prob[n][e] *= a.cap.slope(score);
      }
    }
    if (ballot(!guessed[0] || !guessed[1]) != 0) {
      SIMT_UNROLL
      for (int half = 0; half < 2; half++) {
        const float dot = row_sum(dots[half]), mass = row_sum(masses[half]);
        if (guessed[half] || mass == 0) continue;
        guess[half] = dot / mass;
        guessed[half] = true;
      }
    }
    SIMT_UNROLL
    for (int n = 0; n < kCols / 8; n++) {
      SIMT_UNROLL
      for (int e = 0; e < 4; e++) dprob[n][e] = prob[n][e] * (dprob[n][e] - guess[e / 2]);
    }
    add_weighted<Tile, kCols>(keys, at, Weighted<Tile, kCols>{sums, dprob}, Weighted<Tile, kCols>{key_sums, prob});
  }
  double own = 0;
  SIMT_UNROLL
  for (int half = 0; half < 2; half++) {
    const float dot = row_sum(dots[half]), mass = row_sum(masses[half]);
    const bool there = query + 8 * half < p.tokens;
    const float delta = there ? dot / mass : 0.0f, missed = delta - guess[half];
    SIMT_UNROLL
    for (int n = 0; n < Tile::kOwn / 8; n++) {
      sums[n][2 * half] = fmaf(-missed, key_sums[n][2 * half], sums[n][2 * half]);
      sums[n][2 * half + 1] = fmaf(-missed, key_sums[n][2 * half + 1], sums[n][2 * half + 1]);
    }
    if (at.t != 0 || at.own != 0) continue;
    own += delta;
    if (there) store(a.delta + query_at + 8 * half, delta);
  }
  own = block_sum(own, tiles.free_space());  // when it returns, all threads have read the last tile
  const float scale = a.scale(head);
  if (threadIdx.x == 0) store(a.head_sums + (head * p.batch + blockIdx.z) * gridDim.x + blockIdx.x, own * static_cast<double>(scale));
  auto* rows = dynamic_shared<float>();
  put_sums<Tile>(rows, sums, 1.0f, 1.0f, at);
  __syncthreads();
  write_rows<Tile>(rows, part_of(a.dquery, begin_row, head * p.head_dim), first, end - first, p.head_dim, a.rope_cos, a.rope_sin,
                   a.query_scale * scale);
}

// The tiles of queries that see any key of a block: those of the first head that reads its keys, then those of the next.
template <int kCols>
struct QueryTiles {
  const AttentionPlan& p;
  int kv, first, end;  // the key/value head, and the queries of each head
  int head = -1, query = 0;

  __device__ __forceinline__ bool next() {
    query += kCols;
    if (head >= 0 && query < end) return true;
    query = first;
    do head++;
    while (head < p.heads && load(p.kv_of_head + head) != kv);
    return head < p.heads;
  }
};

template <class Tile, bool Caps, class T>
__global__ void __launch_bounds__(Tile::kThreads, 1) attention_backward_keys_kernel(AttentionBackwardArguments<T> a) {
  constexpr int kCols = Tile::kBackwardCols;
  const AttentionPlan& p = a.plan;
  const Place<Tile> at;
  T* keys = dynamic_shared<T>();
  T* values = keys + Tile::kRows * Tile::kStride;
  Stages<Tile, T> tiles{values + Tile::kRows * Tile::kStride};  // queries and dout
  const int64_t begin_row = int64_t{blockIdx.z} * p.tokens, all_rows = p.batch * p.tokens;
  const int kv = static_cast<int>(blockIdx.y), first = static_cast<int>(blockIdx.x) * Tile::kRows;
  const int end = first + Tile::kRows < p.tokens ? first + Tile::kRows : p.tokens;
  const int64_t key_column = p.query_width + kv * p.head_dim, value_column = key_column + p.kv_width;
  fetch_rows<Tile, Tile::kRows>(keys, part_of(a.operands, begin_row, key_column), first, p.tokens, p.head_dim);
  fetch_rows<Tile, Tile::kRows>(values, part_of(a.operands, begin_row, value_column), first, p.tokens, p.head_dim);
  copy_async_commit();
  float dkeys[Tile::kOwn / 8][4] = {}, dvalues[Tile::kOwn / 8][4] = {};
  QueryTiles<kCols> next{p, kv, first, p.window > 0 && end - 1 + p.window < p.tokens ? end - 1 + p.window : p.tokens};
  bool more = next.next();
  const auto fetch_next = [&](int stage) {
    if (!more) return;
    tiles.fetch(stage, part_of(a.operands, begin_row, next.head * p.head_dim), part_of(a.dout, begin_row, next.head * p.head_dim),
                next.query, p);
  };
  const int warp_first = first + at.row;
  fetch_next(0);
  for (; more; tiles.tile_is_read(fetch_next)) {
    const int query = next.query, head = next.head;
    const int64_t query_at = head * all_rows + begin_row + query;
    copy_async_wait<0>();
    __syncthreads();  // the tile is there for all threads, and all have read the other stage
    more = next.next();
    tiles.tile_is_there(fetch_next);
    if (p.none_sees(query, query + kCols - 1, warp_first, warp_first + 15)) continue;
    const T *queries = tiles.first(tiles.stage), *dout = tiles.second(tiles.stage);
    // The values of each query are loaded before the products, which take longer than the loads.
    const float scale = a.scale(head);
    float lse[kCols / 8][2], delta[kCols / 8][2];
    SIMT_UNROLL
    for (int n = 0; n < kCols / 8; n++) {
      SIMT_UNROLL
      for (int e = 0; e < 2; e++) {
        const int of = 8 * n + at.t + e;
        const bool there = query + of < p.tokens;
        lse[n][e] = there ? load(a.lse + query_at + of) : 0.0f;
        delta[n][e] = there ? load(a.delta + query_at + of) : 0.0f;
      }
    }
    float prob[kCols / 8][4], dscore[kCols / 8][4];
    scores_and_gradients<Tile, kCols>(prob, dscore, keys, values, queries, dout, at);
    const bool all = p.all_see(query, query + kCols - 1, warp_first, warp_first + 15);
    SIMT_UNROLL
    for (int n = 0; n < kCols / 8; n++) {
      SIMT_UNROLL
      for (int e = 0; e < 4; e++) {
        const bool sees = all || p.sees(query + 8 * n + at.t + e % 2, warp_first + at.g + 8 * (e / 2));
        if constexpr (Caps) prob[n][e] = a.cap.capped(prob[n][e]);
        const float score = prob[n][e];
        prob[n][e] = sees ? fast_exp2(score - lse[n][e % 2]) * scale : 0.0f;
        dscore[n][e] = prob[n][e] * (dscore[n][e] - delta[n][e % 2]);
        if constexpr (Caps) dscore[n][e] *= a.cap.slope(score);
      }
    }
    add_weighted<Tile, kCols>(dout, at, Weighted<Tile, kCols>{dvalues, prob});
    add_weighted<Tile, kCols>(queries, at, Weighted<Tile, kCols>{dkeys, dscore});
  }
  copy_async_wait<0>();
  __syncthreads();
  auto* rows = dynamic_shared<float>();
  put_sums<Tile>(rows, dkeys, 1.0f, 1.0f, at);
  __syncthreads();
  write_rows<Tile>(rows, part_of(a.dqkv, begin_row, key_column), first, end - first, p.head_dim, a.rope_cos, a.rope_sin, kLn2);
  __syncthreads();
  put_sums<Tile>(rows, dvalues, 1.0f, 1.0f, at);
  __syncthreads();
  write_rows<Tile>(rows, part_of(a.dqkv, begin_row, value_column), first, end - first, p.head_dim, nullptr, nullptr, 1.0f);
  if (kv != 0) return;
  const auto clear = [&](int64_t from, int64_t to) {
    for (int64_t i = threadIdx.x; i < (end - first) * (to - from); i += Tile::kThreads)
      store1(a.dqkv.row(begin_row + first + i / (to - from)) + from + i % (to - from), 0.0f);
  };
  const int64_t used = int64_t{p.kv_heads} * p.head_dim, behind = p.query_width + p.kv_width;
  clear(int64_t{p.heads} * p.head_dim, p.query_width);
  clear(p.query_width + used, behind);
  clear(behind + used, behind + p.kv_width);
}

// head_dot[head] = the sum of the head's parts.
__global__ void __launch_bounds__(128) add_head_sums_kernel(const double* sums, int64_t count, double* head_dot) {
  SIMT_SHARED(double, space, kMostWarps);
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) sum += load(sums + blockIdx.x * count + i);
  sum = block_sum(sum, space);
  if (threadIdx.x == 0) store(head_dot + blockIdx.x, sum);
}

void CudaBackend::launch(const AttentionBackward& op) {
  const AttentionShape& s = op.shape;
  const int64_t rows = op.operands.rows, used = s.heads * s.head_dim, angles = s.tokens * s.head_dim / 2;
  const bool in_place = op.dqkv.data == op.operands.data;
  with_compute_type(op.operands.dtype, [&](auto t) {
    using T = decltype(t);
    Matrix<T> dquery = matrix<T>(op.dqkv);
    if (in_place) dquery = {scratch<T>(kDquery, rows * used), used};
    with_head_size<T>(s, {&op.operands, &op.dout}, [&](auto tile) {
      using Tile = decltype(tile);
      const int64_t blocks = (s.tokens + Tile::kRows - 1) / Tile::kRows;
      const AttentionBackwardArguments<T> a{plan_of(s),
                                            matrix<T>(op.operands),
                                            matrix<T>(op.dout),
                                            dquery,
                                            matrix<T>(op.dqkv),
                                            list(op.lse, s.heads * rows),
                                            list(s.rope_cos, angles),
                                            list(s.rope_sin, angles),
                                            scratch<float>(kDelta, s.heads * rows),
                                            scratch<double>(kSums, s.heads * s.batch * blocks),
                                            score_scale(s, 1.0f),
                                            list(op.dout_scale, s.query_width),
                                            SoftCapBy(kLog2e * s.score_cap)};
      const auto grid = [&](int64_t heads) {
        return dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(heads), static_cast<unsigned>(s.batch));
      };
      with_cap(s.score_cap, [&](auto caps) {
        launch_kernel("attention_backward_queries", attention_backward_queries_kernel<Tile, caps.value, T>, grid(s.heads),
                      dim3(Tile::kThreads), Tile::kBackwardBytes, stream_.handle(), a);
        launch_kernel("attention_backward_keys", attention_backward_keys_kernel<Tile, caps.value, T>, grid(s.kv_heads),
                      dim3(Tile::kThreads), Tile::kBackwardBytes, stream_.handle(), a);
      });
      launch_kernel("add_head_sums", add_head_sums_kernel, dim3(static_cast<unsigned>(s.heads)), dim3(128), 0, stream_.handle(),
                    a.head_sums, s.batch * blocks, list(op.head_dot, s.heads));
    });
    if (in_place)
      stream_.copy_rows({op.dqkv.data.address(), static_cast<uint64_t>(op.dqkv.stride) * sizeof(T)},
                        {scratch_address(kDquery, 0), static_cast<uint64_t>(used) * sizeof(T)}, static_cast<uint64_t>(used) * sizeof(T),
                        static_cast<uint64_t>(rows));
  });
}

}  // namespace espalier::cuda::ESPALIER_TARGET

// Attention of all query heads: out [N, heads, D] from queries [N, heads, D] and keys and values [N, kv_heads, D], where N = batch x
// tokens. A query sees itself and all tokens before it, or only the last `window` tokens. Queries are scaled so that scores are base-2
// logarithms.
//
// The algorithm is FlashAttention-2: a block has 64 queries of one head (32 where a head's row is 1 KiB) and goes along its keys tile by
// tile. Scores stay in registers, with each row's largest score and sum beside them. The values are copied while scores are computed, and
// the next keys while values are added. Blocks with the most keys come first. The work is 4 D FLOPs for each pair of query and key that see
// each other; each block of queries reads keys and values once. Probabilities are rounded to the compute dtype for their product with the
// values; their sum is not rounded.
#include "attention/attention_tile.h"
#include "cuda_backend.h"

namespace espalier::cuda::ESPALIER_TARGET {

template <class T>
struct AttentionArguments {
  AttentionPlan plan;
  Matrix<T> operands, out;
  float* lse;                 // nullptr where it is not wanted
  const float* column_scale;  // nullptr stands for ones
  SoftCapBy cap;
};

template <class Tile, bool Caps, class T>
__global__ void __launch_bounds__(Tile::kThreads, 1) attention_kernel(AttentionArguments<T> a) {
  constexpr int kCols = Tile::kForwardCols;
  const AttentionPlan& p = a.plan;
  const Place<Tile> at;
  T* queries = dynamic_shared<T>();
  T *keys = queries + Tile::kRows * Tile::kStride, *values = keys + kCols * Tile::kStride;
  const int64_t begin_row = int64_t{blockIdx.z} * p.tokens;
  const int head = static_cast<int>(blockIdx.y), kv = load(p.kv_of_head + head);
  const int first = static_cast<int>(gridDim.x - 1 - blockIdx.x) * Tile::kRows;
  const int end = first + Tile::kRows < p.tokens ? first + Tile::kRows : p.tokens;
  const Matrix<T> key_rows = part_of(a.operands, begin_row, p.query_width + kv * p.head_dim),
                  value_rows = part_of(a.operands, begin_row, p.query_width + p.kv_width + kv * p.head_dim);
  int key = p.oldest_key(first) / kCols * kCols;
  fetch_rows<Tile, Tile::kRows>(queries, part_of(a.operands, begin_row, head * p.head_dim), first, p.tokens, p.head_dim);
  fetch_rows<Tile, kCols>(keys, key_rows, key, p.tokens, p.head_dim);
  copy_async_commit();
  float sums[Tile::kOwn / 8][4] = {};
  float highest[2] = {-1e30f, -1e30f}, mass[2] = {};  // for rows g and g + 8; mass covers only the thread's own columns
  for (; key < end; key += kCols) {
    fetch_rows<Tile, kCols>(values, value_rows, key, p.tokens, p.head_dim);
    copy_async_commit();
    copy_async_wait<1>();
    __syncthreads();
    float scores[kCols / 8][4];
    multiply_rows<Tile, kCols>(scores, queries + at.row * Tile::kStride, keys, at);
    if constexpr (Caps) cap_scores<kCols>(scores, a.cap);
    __syncthreads();  // all threads have read the keys
    if (key + kCols < end) fetch_rows<Tile, kCols>(keys, key_rows, key + kCols, p.tokens, p.head_dim);
    copy_async_commit();
    const bool all = p.all_see(first, first + Tile::kRows - 1, key, key + kCols - 1);
    SIMT_UNROLL
    for (int half = 0; half < 2; half++) {
      const int query = first + at.row + at.g + 8 * half;
      float most = highest[half];
      SIMT_UNROLL
      for (int n = 0; n < kCols / 8; n++)
        for (int e = 0; e < 2; e++) {
          const float s = scores[n][2 * half + e];
          if (s > most && (all || p.sees(query, key + 8 * n + at.t + e))) most = s;
        }
      for (int distance = 1; distance <= 2; distance *= 2) {
        const float other = shuffle_xor(most, distance);
        most = other > most ? other : most;
      }
      const float rescale = fast_exp2(highest[half] - most);
      highest[half] = most;
      float sum = 0;
      SIMT_UNROLL
      for (int n = 0; n < kCols / 8; n++)
        for (int e = 0; e < 2; e++) {
          float& s = scores[n][2 * half + e];
          s = all || p.sees(query, key + 8 * n + at.t + e) ? fast_exp2(s - most) : 0.0f;
          sum += s;
        }
      mass[half] = fmaf(mass[half], rescale, sum);
      SIMT_UNROLL
      for (auto& s : sums) {
        s[2 * half] *= rescale;
        s[2 * half + 1] *= rescale;
      }
    }
    copy_async_wait<1>();
    __syncthreads();
    add_weighted<Tile, kCols>(values, at, Weighted<Tile, kCols>{sums, scores});
    __syncthreads();  // all threads have read the values, and after the last values no copy is under way
  }
  const float scale = a.column_scale ? load(a.column_scale + head * p.head_dim) : 1.0f;
  float factor[2];
  SIMT_UNROLL
  for (int half = 0; half < 2; half++) {
    const float sum = row_sum(mass[half]);
    const int query = first + at.row + at.g + 8 * half;
    factor[half] = scale / sum;
    if (a.lse && at.own == 0 && at.t == 0 && query < p.tokens)
      store(a.lse + head * p.batch * p.tokens + begin_row + query, highest[half] + log2f(sum));
  }
  auto* rows = dynamic_shared<float>();
  put_sums<Tile>(rows, sums, factor[0], factor[1], at);
  __syncthreads();
  const int fours = p.head_dim / 4;
  for (int i = static_cast<int>(threadIdx.x); i < (end - first) * fours; i += Tile::kThreads) {
    const int r = i / fours, c = i % fours * 4;
    const Four v = shared_load(reinterpret_cast<const Four*>(rows + r * Tile::kSumStride + c));
    store4(a.out.row(begin_row + first + r) + head * p.head_dim + c, v);
  }
  if (head != 0) return;
  const int64_t used = int64_t{p.heads} * p.head_dim, padding = p.query_width - used;
  for (int64_t i = threadIdx.x; i < (end - first) * padding; i += Tile::kThreads)
    store1(a.out.row(begin_row + first + i / padding) + used + i % padding, 0.0f);
}

void CudaBackend::launch(const Attention& op) {
  const AttentionShape& s = op.shape;
  with_compute_type(op.operands.dtype, [&](auto t) {
    using T = decltype(t);
    with_head_size<T>(s, {&op.operands}, [&](auto tile) {
      using Tile = decltype(tile);
      const AttentionArguments<T> a{plan_of(s),
                                    matrix<T>(op.operands),
                                    matrix<T>(op.out),
                                    list(op.lse, s.heads * op.operands.rows),
                                    list(op.column_scale, s.query_width),
                                    SoftCapBy(kLog2e * s.score_cap)};
      const auto blocks = static_cast<unsigned>((s.tokens + Tile::kRows - 1) / Tile::kRows);
      with_cap(s.score_cap, [&](auto caps) {
        launch_kernel("attention", attention_kernel<Tile, caps.value, T>,
                      dim3(blocks, static_cast<unsigned>(s.heads), static_cast<unsigned>(s.batch)), dim3(Tile::kThreads),
                      Tile::kForwardBytes, stream_.handle(), a);
      });
    });
  });
}

}  // namespace espalier::cuda::ESPALIER_TARGET

// Attention of one new token of each sequence over a cache of keys and values.
//
// A block computes the heads of one token that read one key/value head. It writes the token's own key and value to the cache. Then its
// warps take turns at the keys; each warp has its own running maximum, sum and weighted values, which are combined at the end. The kernel
// is limited by the bytes of the cache: 2 kv_width values for each token that is seen, read once for each head of the group.
#include "cuda_backend.h"
#include "exp2.h"
#include "reduce.h"

namespace espalier::cuda::ESPALIER_TARGET {

namespace {
constexpr int kCacheWarps = 4, kCacheThreads = kCacheWarps * kWarpSize, kMostHeadDim = 256, kLaneValues = kMostHeadDim / kWarpSize;
constexpr float kBelowAllScores = -1e30f;
}  // namespace

template <class T>
struct CachedAttentionArguments {
  Matrix<T> operands, cache, out;
  const int32_t *kv_of_head, *sequences, *positions;
  const float* column_scale;
  int64_t query_width, kv_width, capacity, window;
  int heads, dim;
  SoftCapBy cap;
};

template <class T, bool Caps>
__global__ void __launch_bounds__(kCacheThreads) cached_attention_kernel(CachedAttentionArguments<T> a) {
  SIMT_SHARED(float, tops, kCacheWarps);
  SIMT_SHARED(float, masses, kCacheWarps);
  SIMT_SHARED(float, weighted, kCacheWarps* kMostHeadDim);
  const int64_t n = blockIdx.x, kv = blockIdx.y, position = load(a.positions + n);
  // The first rows of the keys and of the values.
  const int64_t keys = (load(a.sequences + n) * int64_t{gridDim.y} + kv) * 2 * a.capacity, values = keys + a.capacity;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarpSize, warp = thread / kWarpSize;
  const T* from = a.operands.row(n);
  const T *own_key = from + a.query_width + kv * a.dim, *own_value = own_key + a.kv_width;
  for (int j = thread; j < a.dim; j += kCacheThreads) {
    store(a.cache.row(keys + position % a.capacity) + j, load(own_key + j));
    store(a.cache.row(values + position % a.capacity) + j, load(own_value + j));
  }
  __syncthreads();
  const int64_t most = a.window > 0 && a.window < a.capacity ? a.window : a.capacity;
  const int64_t oldest = position + 1 > most ? position + 1 - most : 0;
  for (int head = 0; head < a.heads; head++) {
    if (load(a.kv_of_head + head) != kv) continue;
    float query[kLaneValues], sums[kLaneValues], top = kBelowAllScores, mass = 0;
    SIMT_UNROLL
    for (int c = 0; c < kLaneValues; c++) {
      const int j = c * kWarpSize + lane;
      query[c] = j < a.dim ? load1(from + int64_t{head} * a.dim + j) : 0.0f;
      sums[c] = 0;
    }
    for (int64_t p = oldest + warp; p <= position; p += kCacheWarps) {
      const T *key = a.cache.row(keys + p % a.capacity), *value = a.cache.row(values + p % a.capacity);
      float score = 0;
      SIMT_UNROLL
      for (int c = 0; c < kLaneValues; c++) {
        const int j = c * kWarpSize + lane;
        if (j < a.dim) score = fmaf(query[c], load1(key + j), score);
      }
      score = warp_sum(score);
      if constexpr (Caps) score = a.cap.capped(score);
      const float next = score > top ? score : top, keep = exact_exp2(top - next), weight = exact_exp2(score - next);
      top = next;
      mass = fmaf(mass, keep, weight);
      SIMT_UNROLL
      for (int c = 0; c < kLaneValues; c++) {
        const int j = c * kWarpSize + lane;
        if (j < a.dim) sums[c] = fmaf(sums[c], keep, weight * load1(value + j));
      }
    }
    if (lane == 0) {
      shared_store(tops + warp, top);
      shared_store(masses + warp, mass);
    }
    SIMT_UNROLL
    for (int c = 0; c < kLaneValues; c++) shared_store(weighted + warp * kMostHeadDim + c * kWarpSize + lane, sums[c]);
    __syncthreads();
    float highest = kBelowAllScores, all = 0, factors[kCacheWarps];
    SIMT_UNROLL
    for (int w = 0; w < kCacheWarps; w++) highest = shared_load(tops + w) > highest ? shared_load(tops + w) : highest;
    SIMT_UNROLL
    for (int w = 0; w < kCacheWarps; w++) {
      factors[w] = exact_exp2(shared_load(tops + w) - highest);
      all = fmaf(factors[w], shared_load(masses + w), all);
    }
    const float scale = (a.column_scale ? load(a.column_scale + int64_t{head} * a.dim) : 1.0f) / all;
    for (int j = thread; j < a.dim; j += kCacheThreads) {
      float sum = 0;
      SIMT_UNROLL
      for (int w = 0; w < kCacheWarps; w++) sum = fmaf(factors[w], shared_load(weighted + w * kMostHeadDim + j), sum);
      store1(a.out.row(n) + int64_t{head} * a.dim + j, sum * scale);
    }
    __syncthreads();
  }
  if (kv > 0) return;
  for (int64_t j = int64_t{a.heads} * a.dim + thread; j < a.query_width; j += kCacheThreads) store1(a.out.row(n) + j, 0.0f);
}

void CudaBackend::launch(const CachedAttention& op) {
  const AttentionShape& s = op.shape;
  const int64_t rows = op.operands.rows;
  if (rows == 0) return;
  if (s.head_dim > kMostHeadDim)
    throw Error(ErrorCode::kNotSupported, "head_dim",
                "on CUDA a head's size is at most " + std::to_string(kMostHeadDim) + ", not " + std::to_string(s.head_dim));
  with_compute_type(op.operands.dtype, [&](auto t) {
    using T = decltype(t);
    const CachedAttentionArguments<T> a{any_matrix<T>(op.operands, op.operands.cols),
                                        any_matrix<T>(op.cache, op.cache.cols),
                                        any_matrix<T>(op.out, op.out.cols),
                                        list(s.kv_of_head, s.heads),
                                        list(op.sequences, rows),
                                        list(op.positions, rows),
                                        list(op.column_scale, s.query_width),
                                        s.query_width,
                                        s.kv_width,
                                        op.capacity,
                                        s.window,
                                        static_cast<int>(s.heads),
                                        static_cast<int>(s.head_dim),
                                        SoftCapBy(kLog2e * s.score_cap)};
    with_cap(s.score_cap, [&](auto caps) {
      launch_kernel("cached_attention", cached_attention_kernel<T, caps.value>,
                    dim3(static_cast<unsigned>(rows), static_cast<unsigned>(s.kv_heads)), dim3(kCacheThreads), 0, stream_.handle(), a);
    });
  });
}

}  // namespace espalier::cuda::ESPALIER_TARGET

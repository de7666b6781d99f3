// Attention of sequences that continue the rows of other sequences. It has the operands and results of attention.cu, but finds keys by a
// list.
//
// A warp has one query and one head. Its lanes take 32 keys at a time, then 32 columns of the values at a time, and carry the largest score
// and the sum along. Rows are read in place, so nothing is packed, and a piece of any length costs only its own rows. The queries of a
// piece share no reads. That is enough for scoring, where attention costs little beside the products.
#include "cuda_backend.h"
#include "exp2.h"
#include "reduce.h"

namespace espalier::cuda::ESPALIER_TARGET {

inline constexpr int kPathWarps = 4, kMostHeadDim = 256, kOwnColumns = kMostHeadDim / kWarpSize;

template <class T>
struct PathArguments {
  Matrix<T> operands, out;
  const float* column_scale;  // nullptr stands for ones
  const int32_t *kv_of_head, *bounds, *path;
  int64_t rows, pieces, window;
  int64_t query_width, kv_width;
  int heads, head_dim;
  SoftCapBy cap;
};

// Returns the piece that has the row. Pieces lie in the order of their rows.
__device__ __forceinline__ const int32_t* piece_of(const int32_t* bounds, int64_t pieces, int64_t row) {
  int64_t low = 0, high = pieces;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (load(bounds + 4 * middle) <= row)
      low = middle;
    else
      high = middle;
  }
  return bounds + 4 * low;
}

template <class T, bool Caps>
__global__ void __launch_bounds__(kPathWarps* kWarpSize) path_attention_kernel(PathArguments<T> a) {
  const int64_t row = int64_t{blockIdx.x} * kPathWarps + threadIdx.x / kWarpSize;
  if (row >= a.rows) return;  // true for all lanes of a warp or for none
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize, head = static_cast<int>(blockIdx.y), kv = load(a.kv_of_head + head);
  const int32_t* piece = piece_of(a.bounds, a.pieces, row);
  const int64_t first = load(piece), before = load(piece + 3), token = before + row - first;
  const int32_t* path = a.path + load(piece + 2);
  const T* query = a.operands.row(row) + int64_t{head} * a.head_dim;
  const int64_t key_column = a.query_width + int64_t{kv} * a.head_dim;
  const auto row_of = [&](int64_t t) { return t < before ? static_cast<int64_t>(load(path + t)) : first + t - before; };
  float sums[kOwnColumns] = {}, highest = -1e30f, mass = 0;
  for (int64_t t = a.window > 0 && token >= a.window ? token - a.window + 1 : 0; t <= token; t += kWarpSize) {
    const bool sees = t + lane <= token;
    const int64_t key_row = row_of(sees ? t + lane : token);
    const T* key = a.operands.row(key_row) + key_column;
    float score = 0;
    for (int j = 0; j < a.head_dim; j++) score = fmaf(load1(query + j), load1(key + j), score);
    if constexpr (Caps) score = a.cap.capped(score);
    float most = sees ? score : -1e30f;
    for (int distance = 16; distance > 0; distance /= 2) {
      const float other = shuffle_xor(most, distance);
      most = other > most ? other : most;
    }
    most = highest > most ? highest : most;
    const float before_share = exact_exp2(highest - most), share = sees ? exact_exp2(score - most) : 0.0f;
    highest = most;
    mass = mass * before_share + warp_sum(share);
    SIMT_UNROLL
    for (int c = 0; c < kOwnColumns; c++) sums[c] *= before_share;
    for (int k = 0; k < kWarpSize && t + k <= token; k++) {
      const float weight = shuffle(share, k);
      const int64_t value_row = shuffle(key_row, k);
      const T* value = a.operands.row(value_row) + key_column + a.kv_width;
      SIMT_UNROLL
      for (int c = 0; c < kOwnColumns; c++)
        if (c * kWarpSize + lane < a.head_dim) sums[c] = fmaf(weight, load1(value + c * kWarpSize + lane), sums[c]);
    }
  }
  T* out = a.out.row(row);
  const float factor = (a.column_scale ? load(a.column_scale + int64_t{head} * a.head_dim) : 1.0f) / mass;
  SIMT_UNROLL
  for (int c = 0; c < kOwnColumns; c++)
    if (c * kWarpSize + lane < a.head_dim) store1(out + int64_t{head} * a.head_dim + c * kWarpSize + lane, sums[c] * factor);
  if (head == 0)
    for (int64_t j = int64_t{a.heads} * a.head_dim + lane; j < a.query_width; j += kWarpSize) store1(out + j, 0.0f);
}

void CudaBackend::launch(const PathAttention& op) {
  const AttentionShape& s = op.shape;
  if (s.head_dim > kMostHeadDim)
    throw Error(ErrorCode::kNotSupported, "head_dim",
                "on CUDA a head has at most " + std::to_string(kMostHeadDim) + " columns, not " + std::to_string(s.head_dim));
  with_compute_type(op.operands.dtype, [&](auto t) {
    using T = decltype(t);
    const PathArguments<T> a{any_matrix<T>(op.operands, s.width()),
                             any_matrix<T>(op.out, s.query_width),
                             list(op.column_scale, s.query_width),
                             list(s.kv_of_head, s.heads),
                             list(op.bounds, 4 * op.pieces),
                             list(op.path, op.path_size),
                             op.operands.rows,
                             op.pieces,
                             s.window,
                             s.query_width,
                             s.kv_width,
                             static_cast<int>(s.heads),
                             static_cast<int>(s.head_dim),
                             SoftCapBy(kLog2e * s.score_cap)};
    const auto blocks = static_cast<unsigned>((op.operands.rows + kPathWarps - 1) / kPathWarps);
    with_cap(s.score_cap, [&](auto caps) {
      launch_kernel("path_attention", path_attention_kernel<T, caps.value>, dim3(blocks, static_cast<unsigned>(s.heads)),
                    dim3(kPathWarps * kWarpSize), 0, stream_.handle(), a);
    });
  });
}

}  // namespace espalier::cuda::ESPALIER_TARGET

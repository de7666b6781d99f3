// RMS norms of the query and key heads, each over the head_dim values of a head or over all heads of a row together, and their gradients.
//
// A warp computes one norm. It reads the values twice, the second time from the cache, so the passes cost their bytes. In the forward pass
// the products are normed in place, before they are rotated and rounded.
#include "cuda_backend.h"
#include "reduce.h"
#include "tensors/tensor_values.h"

namespace espalier::cuda::ESPALIER_TARGET {

namespace {
constexpr int kWarpsOfBlock = 8;
}

template <class T>
struct HeadNormArguments {
  Matrix<float> sums;        // the products; forward pass only
  Matrix<T> normed, dqkv;    // dqkv: backward pass only
  const float *query, *key;  // the norms' weights
  float* rstd;               // [rows, query_norms + key_norms]; nullptr where it is not wanted
  const float* rstd_made;    // the forward pass's rstd; backward pass only
  int64_t rows, query_width;
  int query_norms, key_norms, query_size, key_size;
  float eps;

  __device__ __forceinline__ int of_row() const { return query_norms + key_norms; }
  __device__ __forceinline__ const float* weight(int head) const { return head < query_norms ? query : key; }
  __device__ __forceinline__ int size(int head) const { return head < query_norms ? query_size : key_size; }
  __device__ __forceinline__ int64_t column(int head) const {
    return head < query_norms ? int64_t{head} * query_size : query_width + int64_t{head - query_norms} * key_size;
  }
};

// Returns this warp's head among those of all rows, or -1 where none is left.
template <class T>
__device__ __forceinline__ int64_t own_head(const HeadNormArguments<T>& a) {
  const int64_t i = int64_t{blockIdx.x} * kWarpsOfBlock + threadIdx.x / kWarpSize;
  return i < a.rows * a.of_row() ? i : -1;
}

template <class T>
__global__ void __launch_bounds__(kWarpsOfBlock* kWarpSize) head_norm_kernel(HeadNormArguments<T> a) {
  const int64_t i = own_head(a);
  if (i < 0) return;
  const int64_t n = i / a.of_row();
  const int head = static_cast<int>(i % a.of_row()), lane = static_cast<int>(threadIdx.x) % kWarpSize;
  float* x = a.sums.row(n) + a.column(head);
  Four squares = all4(0);
  for (int j = lane * 4; j < a.size(head); j += kWarpSize * 4) {
    const Four v = load4(x + j);
    squares = fma4(v, v, squares);
  }
  const float rstd = 1.0f / sqrtf(warp_sum(sum4(squares)) / static_cast<float>(a.size(head)) + a.eps);
  if (a.rstd && lane == 0) store(a.rstd + i, rstd);
  for (int j = lane * 4; j < a.size(head); j += kWarpSize * 4) {
    const Four v = load4(x + j) * all4(rstd);
    if (a.normed.data) store4(a.normed.row(n) + a.column(head) + j, v);
    store4(x + j, v * load4(a.weight(head) + j));
  }
}

// With xhat = x * rstd: dx = rstd * (dxhat - xhat * mean(dxhat * xhat)), where dxhat = dy * weight.
template <class T>
__global__ void __launch_bounds__(kWarpsOfBlock* kWarpSize) head_norm_backward_kernel(HeadNormArguments<T> a) {
  const int64_t i = own_head(a);
  if (i < 0) return;
  const int64_t n = i / a.of_row();
  const int head = static_cast<int>(i % a.of_row()), lane = static_cast<int>(threadIdx.x) % kWarpSize;
  T* d = a.dqkv.row(n) + a.column(head);
  const T* xhat = a.normed.row(n) + a.column(head);
  Four along = all4(0);
  for (int j = lane * 4; j < a.size(head); j += kWarpSize * 4)
    along = fma4(load4(d + j) * load4(a.weight(head) + j), load4(xhat + j), along);
  const float mean = warp_sum(sum4(along)) / static_cast<float>(a.size(head)), rstd = load(a.rstd_made + i);
  for (int j = lane * 4; j < a.size(head); j += kWarpSize * 4) {
    const Four dxhat = load4(d + j) * load4(a.weight(head) + j);
    store4(d + j, fma4(load4(xhat + j), all4(-mean), dxhat) * all4(rstd));
  }
}

namespace {

template <class T>
HeadNormArguments<T> arguments(const AttentionShape& s, const HeadNorms& norms, const Tensor& normed, int64_t rows) {
  HeadNormArguments<T> a{};
  a.normed = matrix<T>(normed);
  a.query = list(norms.query, norms.query_size(s));
  a.key = list(norms.key, norms.key_size(s));
  a.rows = rows;
  a.query_width = s.query_width;
  a.query_norms = static_cast<int>(norms.query_norms(s));
  a.key_norms = static_cast<int>(norms.key_norms(s));
  a.query_size = static_cast<int>(norms.query_size(s));
  a.key_size = static_cast<int>(norms.key_size(s));
  a.eps = norms.eps;
  return a;
}

template <class T>
dim3 blocks_for(const HeadNormArguments<T>& a) {
  return dim3(static_cast<unsigned>((a.rows * a.of_row() + kWarpsOfBlock - 1) / kWarpsOfBlock));
}

}  // namespace

void CudaBackend::norm_heads(const AttentionOperands& op, const Tensor& sums) {
  with_compute_type(op.operands.dtype, [&](auto t) {
    using T = decltype(t);
    HeadNormArguments<T> a = arguments<T>(op.shape, op.norms, op.normed, sums.rows);
    a.sums = matrix<float>(sums);
    if (op.normed) a.rstd = list(op.rstd, sums.rows * a.of_row());
    launch_kernel("head_norm", head_norm_kernel<T>, blocks_for(a), dim3(kWarpsOfBlock * kWarpSize), 0, stream_.handle(), a);
  });
}

void CudaBackend::launch(const HeadNormBackward& op) {
  if (op.dqkv.rows == 0) return;
  with_compute_type(op.dqkv.dtype, [&](auto t) {
    using T = decltype(t);
    HeadNormArguments<T> a = arguments<T>(op.shape, op.norms, op.normed, op.dqkv.rows);
    a.dqkv = matrix<T>(op.dqkv);
    a.rstd_made = list(op.rstd, op.dqkv.rows * a.of_row());
    launch_kernel("head_norm_backward", head_norm_backward_kernel<T>, blocks_for(a), dim3(kWarpsOfBlock * kWarpSize), 0, stream_.handle(),
                  a);
  });
}

}  // namespace espalier::cuda::ESPALIER_TARGET

// AdamW without weight decay, the sum of two gradients, and the sum of squares in double, over flat arrays of any size and alignment.
//
// A thread has one parameter: 28 bytes of memory and a few operations, so only coalesced access matters. The sum of squares has a fixed
// number of parts, which one block adds in their order on every card.
#include <algorithm>

#include "cuda_backend.h"
#include "reduce.h"
#include "rows/row_parts.h"
#include "tensors/tensor_values.h"

namespace espalier::cuda::ESPALIER_TARGET {

struct AdamWArguments {
  float *param, *m, *v;
  const float* gradient;
  int64_t size;
  float step, beta1, beta2, eps, bias_correction2, gradient_scale, low, high;
};

__global__ void __launch_bounds__(256) adamw_kernel(AdamWArguments a) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= a.size) return;
  const float g = load(a.gradient + i) * a.gradient_scale;
  const float m = fmaf(load(a.m + i), a.beta1, g * (1.0f - a.beta1));
  const float v = fmaf(load(a.v + i), a.beta2, g * g * (1.0f - a.beta2));
  float p = load(a.param + i) - a.step * (m / (sqrtf(v / a.bias_correction2) + a.eps));
  if (a.low < a.high) {
    p = p < a.low ? a.low : p;
    p = p > a.high ? a.high : p;
  }
  store(a.param + i, p);
  store(a.m + i, m);
  store(a.v + i, v);
}

void CudaBackend::launch(const AdamW& op) {
  if (op.size == 0) return;
  const AdamWArguments a{list(op.param, op.size),
                         list(op.m, op.size),
                         list(op.v, op.size),
                         list(op.gradient, op.size),
                         op.size,
                         op.learning_rate / op.bias_correction1,
                         op.beta1,
                         op.beta2,
                         op.eps,
                         op.bias_correction2,
                         op.gradient_scale,
                         op.low,
                         op.high};
  launch_kernel("adamw", adamw_kernel, dim3(static_cast<unsigned>((op.size + 255) / 256)), dim3(256), 0, stream_.handle(), a);
}

__global__ void __launch_bounds__(256) add_kernel(float* to, const float* from, int64_t size) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < size) store(to + i, load(to + i) + load(from + i));
}

void CudaBackend::launch(const Add& op) {
  if (op.size == 0) return;
  launch_kernel("add", add_kernel, dim3(static_cast<unsigned>((op.size + 255) / 256)), dim3(256), 0, stream_.handle(), list(op.to, op.size),
                list(op.from, op.size), op.size);
}

inline constexpr int64_t kSquareParts = kMostSquareParts, kSquareThreads = 256;

// sums[part] = the sum of the squares of every kSquareParts-th run of kSquareThreads values.
__global__ void __launch_bounds__(256) square_sum_kernel(const float* data, int64_t size, double* sums) {
  SIMT_SHARED(double, space, kMostWarps);
  double sum = 0;
  for (int64_t i = int64_t{blockIdx.x} * kSquareThreads + threadIdx.x; i < size; i += kSquareParts * kSquareThreads) {
    const double v = load(data + i);
    sum = fma(v, v, sum);
  }
  sum = block_sum(sum, space);
  if (threadIdx.x == 0) store(sums + blockIdx.x, sum);
}

void CudaBackend::launch(const SquareSum& op) {
  const int64_t parts = std::clamp<int64_t>((op.size + kSquareThreads - 1) / kSquareThreads, 1, kSquareParts);
  auto* sums = scratch<double>(kSums, kSquareParts);
  launch_kernel("square_sum", square_sum_kernel, dim3(static_cast<unsigned>(parts)), dim3(kSquareThreads), 0, stream_.handle(),
                list(op.data, op.size), op.size, sums);
  add_sums(sums, parts, op.sum);
}

}  // namespace espalier::cuda::ESPALIER_TARGET

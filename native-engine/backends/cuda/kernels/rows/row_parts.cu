// Adds the sums of blocks, each of which is for one part, in an order that depends only on the number of parts.
//
// Columns: to[j] += parts[0][j] + parts[1][j] + ..., parts [count, cols]; a thread has one column, so that a warp reads neighbours.
// Single numbers, in double: one block, whose threads each take every 256th number.
#include "rows/row_parts.h"

#include "cuda_backend.h"
#include "reduce.h"
#include "tensors/tensor_values.h"

namespace espalier::cuda::ESPALIER_TARGET {

__global__ void __launch_bounds__(128) add_parts_kernel(const float* parts, int64_t count, int64_t cols, float* to) {
  const int64_t j = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (j >= cols) return;
  float sum = 0;
  for (int64_t p = 0; p < count; p++) sum += load(parts + p * cols + j);
  store(to + j, load(to + j) + sum);
}

void CudaBackend::add_parts(const float* parts, int64_t count, int64_t cols, DevicePtr<float> to) {
  constexpr int64_t kThreads = 128;
  launch_kernel("add_parts", add_parts_kernel, dim3(static_cast<unsigned>((cols + kThreads - 1) / kThreads)), dim3(kThreads), 0,
                stream_.handle(), parts, count, cols, list(to, cols));
}

__global__ void __launch_bounds__(256) add_sums_kernel(const double* sums, int64_t count, double* to) {
  SIMT_SHARED(double, space, kMostWarps);
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) sum += load(sums + i);
  sum = block_sum(sum, space);
  if (threadIdx.x == 0) store(to, sum);
}

void CudaBackend::add_sums(const double* sums, int64_t count, DevicePtr<double> to) {
  launch_kernel("add_sums", add_sums_kernel, dim3(1), dim3(256), 0, stream_.handle(), sums, count, list(to, 1));
}

}  // namespace espalier::cuda::ESPALIER_TARGET

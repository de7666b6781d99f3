// to[j] += parts[0][j] + parts[1][j] + ...: a thread a column, so that a warp reads neighbours. parts: [count, cols].
#include "parts.h"

#include "cuda_backend.h"
#include "types.h"

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

}  // namespace espalier::cuda::ESPALIER_TARGET

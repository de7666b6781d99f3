// x [rows, cols] f32 becomes cap * tanh(x / cap). Rows of logits have any length, so a thread takes one value at a time. The kernel is
// limited by its bytes, 8 for each value.
#include "cuda_backend.h"
#include "exp2.h"
#include "reduce.h"

namespace espalier::cuda::ESPALIER_TARGET {

__global__ void __launch_bounds__(256) soft_cap_kernel(Matrix<float> x, int64_t cols, SoftCapBy by) {
  float* row = x.row(blockIdx.x);
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) store(row + j, by.capped(load(row + j)));
}

void CudaBackend::launch(const SoftCap& op) {
  if (op.x.rows == 0) return;
  launch_kernel("soft_cap", soft_cap_kernel, dim3(static_cast<unsigned>(op.x.rows)), dim3(threads_for_row(op.x.cols)), 0, stream_.handle(),
                any_matrix<float>(op.x, op.x.cols), op.x.cols, SoftCapBy(op.cap));
}

}  // namespace espalier::cuda::ESPALIER_TARGET

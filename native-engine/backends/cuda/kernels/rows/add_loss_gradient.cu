// dx [rows, cols] f32 += scale * diff, and a copy of dx * compute_scale in compute dtype. The copy may overwrite diff: a thread reads four
// values of diff before it writes the same four. The kernel is limited by its bytes, 14 for each value where compute is bf16.
#include "cuda_backend.h"
#include "reduce.h"
#include "tensors/tensor_values.h"

namespace espalier::cuda::ESPALIER_TARGET {

template <class T>
struct AddLossGradientArguments {
  Matrix<float> dx;
  Matrix<T> diff, dx_compute;
  const float* compute_scale;
  int64_t cols;
  float scale;
};

template <class T>
__global__ void __launch_bounds__(256) add_loss_gradient_kernel(AddLossGradientArguments<T> a) {
  const int64_t n = blockIdx.x;
  for (int64_t j = threadIdx.x * 4; j < a.cols; j += blockDim.x * 4) {
    Four sum = load4(a.dx.row(n) + j);
    if (a.diff.data) sum = fma4(load4(a.diff.row(n) + j), all4(a.scale), sum);
    store4(a.dx.row(n) + j, sum);
    store4(a.dx_compute.row(n) + j, a.compute_scale ? sum * load4(a.compute_scale + j) : sum);
  }
}

void CudaBackend::launch(const AddLossGradient& op) {
  if (op.dx.rows == 0) return;
  with_compute_type(op.dx_compute.dtype, [&](auto t) {
    using T = decltype(t);
    const AddLossGradientArguments<T> a{
        matrix<float>(op.dx), matrix<T>(op.diff), matrix<T>(op.dx_compute), list(op.compute_scale, op.dx.cols), op.dx.cols, op.scale};
    launch_kernel("add_loss_gradient", add_loss_gradient_kernel<T>, dim3(static_cast<unsigned>(op.dx.rows)),
                  dim3(threads_for_row(op.dx.cols)), 0, stream_.handle(), a);
  });
}

}  // namespace espalier::cuda::ESPALIER_TARGET

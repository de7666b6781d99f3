// RMSNorm of x [rows, width] f32, and its gradient. The backward pass also adds the residual sum, the layer loss and the mask gradient.
//
// A block has one row, which it reads once from memory and a second time from the cache, so the pass costs its bytes. The backward pass
// also has sums over the rows (mask_dot): a block takes a part of the rows and keeps its column sums in shared memory, where each thread
// has its own columns and waits for no other thread.
#include "cuda_backend.h"
#include "reduce.h"
#include "rows/row_parts.h"
#include "tensors/tensor_values.h"

namespace espalier::cuda::ESPALIER_TARGET {

template <class T>
struct RmsNormArguments {
  Matrix<float> x;
  Matrix<T> out;
  float* rstd;                  // nullptr where it is not wanted
  const float *weight, *scale;  // nullptr stands for ones
  int64_t cols;
  float width, eps;
};

template <class T>
__global__ void __launch_bounds__(256) rmsnorm_kernel(RmsNormArguments<T> a) {
  SIMT_SHARED(float, space, kMostWarps);
  const int64_t n = blockIdx.x;
  const float* x = a.x.row(n);
  T* out = a.out.row(n);
  const auto input = [&](int64_t j) { return a.scale ? load4(x + j) * load4(a.scale + j) : load4(x + j); };
  Four squares = all4(0);
  for (int64_t j = threadIdx.x * 4; j < a.cols; j += blockDim.x * 4) {
    const Four v = input(j);
    squares = fma4(v, v, squares);
  }
  const float rstd = 1.0f / sqrtf(block_sum(sum4(squares), space) / a.width + a.eps);
  if (a.rstd && threadIdx.x == 0) store(a.rstd + n, rstd);
  for (int64_t j = threadIdx.x * 4; j < a.cols; j += blockDim.x * 4) {
    const Four normed = input(j) * all4(rstd);
    store4(out + j, a.weight ? normed * load4(a.weight + j) : normed);
  }
}

void CudaBackend::launch(const RmsNorm& op) {
  if (op.x.rows == 0) return;
  with_compute_type(op.out.dtype, [&](auto t) {
    using T = decltype(t);
    const RmsNormArguments<T> a{matrix<float>(op.x),       matrix<T>(op.out), list(op.rstd, op.x.rows),     list(op.weight, op.x.cols),
                                list(op.scale, op.x.cols), op.x.cols,         static_cast<float>(op.width), op.eps};
    launch_kernel("rmsnorm", rmsnorm_kernel<T>, dim3(static_cast<unsigned>(op.x.rows)), dim3(threads_for_row(op.x.cols)), 0,
                  stream_.handle(), a);
  });
}

template <class T, class S>
struct RmsNormBackwardArguments {
  Matrix<float> dout;
  Matrix<S> saved;
  const float *rstd, *weight, *weight_inverse;
  Matrix<float> dx;
  Matrix<T> loss_diff, dx_compute;
  const float *compute_scale, *saved_scale;
  float* parts;  // [blocks, cols]
  int64_t rows, cols;
  float width, loss_scale;
  bool accumulate;
};

// With xhat = x * rstd: gradient = rstd * (dxhat - xhat * mean(dxhat * xhat)); gradient * x = (dxhat - xhat * mean) * xhat.
// From the norm's output h = xhat * weight: dxhat * xhat = dout * h.
//
// There are two blocks for each multiprocessor of the largest card (row_parts.h). Where the compiler does not know that, it makes room for
// more and spills registers.
template <class T, class S>
__global__ void __launch_bounds__(256, 2) rmsnorm_backward_kernel(RmsNormBackwardArguments<T, S> a) {
  SIMT_SHARED(float, space, kMostWarps);
  float* dots = dynamic_shared<float>();
  const Rows part = rows_of_part(a.rows, blockIdx.x, gridDim.x);
  for (int64_t j = threadIdx.x * 4; j < a.cols; j += blockDim.x * 4) shared_store(reinterpret_cast<Four*>(dots + j), all4(0));
  for (int64_t n = part.begin; n < part.end; n++) {
    const float* dout = a.dout.row(n);
    const S* saved = a.saved.row(n);
    const auto saved_at = [&](int64_t j) { return a.saved_scale ? load4(saved + j) * load4(a.saved_scale + j) : load4(saved + j); };
    const float rstd = load(a.rstd + n);
    Four along = all4(0);
    for (int64_t j = threadIdx.x * 4; j < a.cols; j += blockDim.x * 4) {
      const Four g = a.weight_inverse ? load4(dout + j) : load4(dout + j) * load4(a.weight + j);
      along = fma4(g, saved_at(j), along);
    }
    const float mean = block_sum(sum4(along), space) * (a.weight_inverse ? 1.0f : rstd) / a.width;
    for (int64_t j = threadIdx.x * 4; j < a.cols; j += blockDim.x * 4) {
      const Four xhat = saved_at(j) * (a.weight_inverse ? load4(a.weight_inverse + j) : all4(rstd));
      const Four g = fma4(xhat, all4(-mean), load4(dout + j) * load4(a.weight + j));
      auto* dot = reinterpret_cast<Four*>(dots + j);
      shared_store(dot, fma4(g, xhat, shared_load(dot)));
      Four sum = a.accumulate ? fma4(g, all4(rstd), load4(a.dx.row(n) + j)) : g * all4(rstd);
      if (a.loss_diff.data) sum = fma4(load4(a.loss_diff.row(n) + j), all4(a.loss_scale), sum);
      store4(a.dx.row(n) + j, sum);
      store4(a.dx_compute.row(n) + j, a.compute_scale ? sum * load4(a.compute_scale + j) : sum);
    }
  }
  for (int64_t j = threadIdx.x * 4; j < a.cols; j += blockDim.x * 4)
    store4(a.parts + blockIdx.x * a.cols + j, shared_load(reinterpret_cast<const Four*>(dots + j)));
}

void CudaBackend::launch(const RmsNormBackward& op) {
  if (op.dx.rows == 0) return;
  const int64_t rows = op.dx.rows, cols = op.dx.cols, count = row_parts(rows);
  auto* parts = scratch<float>(kParts, count * cols);
  const auto run_as = [&](auto t, auto s) {
    using T = decltype(t);
    using S = decltype(s);
    RmsNormBackwardArguments<T, S> a{};
    a.dout = matrix<float>(op.dout);
    a.saved = matrix<S>(op.saved);
    a.rstd = list(op.rstd, rows);
    a.weight = list(op.weight, cols);
    a.weight_inverse = list(op.weight_inverse, cols);
    a.dx = matrix<float>(op.dx);
    a.loss_diff = matrix<T>(op.loss_diff);
    a.dx_compute = matrix<T>(op.dx_compute);
    a.compute_scale = list(op.compute_scale, cols);
    a.saved_scale = list(op.saved_scale, cols);
    a.parts = parts;
    a.rows = rows;
    a.cols = cols;
    a.width = static_cast<float>(op.width);
    a.loss_scale = op.loss_scale;
    a.accumulate = op.accumulate;
    launch_kernel("rmsnorm_backward", rmsnorm_backward_kernel<T, S>, dim3(static_cast<unsigned>(count)), dim3(threads_for_row(cols)),
                  static_cast<uint32_t>(cols * 4), stream_.handle(), a);
  };
  if (op.dx_compute.dtype == DType::kF32)
    run_as(float{}, float{});
  else if (op.saved.dtype == DType::kF32)
    run_as(bf16{}, float{});
  else
    run_as(bf16{}, bf16{});
  add_parts(parts, count, cols, op.mask_dot);
}

}  // namespace espalier::cuda::ESPALIER_TARGET

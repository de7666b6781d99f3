// RMSNorm, one pass over each row. The backward pass also adds the residual sum, the layer loss and the mask gradient.
#pragma once
#include "espalier/base/dtypes.h"
#include "simd.h"

namespace espalier::cpu::ESPALIER_ISA {

static inline float inverse_sqrt(float x) { return 1.0f / __builtin_sqrtf(x); }

template <class T, bool scales>
static void rmsnorm_of(const RmsNorm& op, int64_t begin, int64_t end) {
  const int64_t width = op.x.cols;
  float* rstds = host(op.rstd);
  const float *weight = host(op.weight), *scale = host(op.scale);
  for (int64_t n = begin; n < end; n++) {
    const float* x = row_ptr<float>(op.x, n);
    const auto input = [&](int64_t j) { return scaled_load<scales>(x + j, scales ? load(scale + j) : vf{}); };
    T* out = row_ptr<T>(op.out, n);
    vf squares[2] = {};
    int64_t j = 0;
    for (; j + 2 * W <= width; j += 2 * W) {
      const vf a = input(j), b = input(j + W);
      squares[0] += a * a;
      squares[1] += b * b;
    }
    for (; j < width; j += W) squares[0] += input(j) * input(j);
    const float rstd = inverse_sqrt(sum_lanes(squares[0] + squares[1]) / static_cast<float>(op.width) + op.eps);
    if (rstds) rstds[n] = rstd;
    if (weight)
      for (j = 0; j < width; j += W) store(out + j, input(j) * rstd * load(weight + j));
    else
      for (j = 0; j < width; j += W) store(out + j, input(j) * rstd);
  }
}

static void rmsnorm(const RmsNorm& op, int64_t begin, int64_t end) {
  with_compute_type(op.out.dtype, [&](auto t) {
    with_constant(static_cast<bool>(op.scale), [&](auto scales) { rmsnorm_of<decltype(t), scales.value>(op, begin, end); });
  });
}

// With xhat = x * rstd: gradient = rstd * (dxhat - xhat * mean(dxhat * xhat)); gradient * x = (dxhat - xhat * mean) * xhat.
// With the norm's output h = xhat * weight: dxhat * xhat = dout * h.
template <class T, class S, bool scales>
static void rmsnorm_backward_of(const RmsNormBackward& op, int64_t begin, int64_t end, float* mask_dot) {
  const int64_t width = op.dx.cols;
  const float *weight = host(op.weight), *weight_inverse = host(op.weight_inverse), *compute_scale = host(op.compute_scale),
              *saved_scale = host(op.saved_scale);
  const vf zero = {};
  for (int64_t n = begin; n < end; n++) {
    const float* dout = row_ptr<float>(op.dout, n);
    const S* saved = row_ptr<S>(op.saved, n);
    const auto saved_at = [&](int64_t j) { return scaled_load<scales>(saved + j, scales ? load(saved_scale + j) : vf{}); };
    const T* diff = op.loss_diff ? row_ptr<T>(op.loss_diff, n) : nullptr;
    float* dx = row_ptr<float>(op.dx, n);
    T* dx_compute = row_ptr<T>(op.dx_compute, n);
    const float rstd = host(op.rstd)[n];
    vf dots = {};
    if (weight_inverse)
      for (int64_t j = 0; j < width; j += W) dots += load(dout + j) * saved_at(j);
    else
      for (int64_t j = 0; j < width; j += W) dots += load(dout + j) * load(weight + j) * saved_at(j);
    const float mean = sum_lanes(dots) * (weight_inverse ? 1.0f : rstd) / static_cast<float>(op.width);
    for (int64_t j = 0; j < width; j += W) {
      const vf xhat = weight_inverse ? saved_at(j) * load(weight_inverse + j) : saved_at(j) * rstd;
      const vf g = load(dout + j) * load(weight + j) - xhat * mean;
      store(mask_dot + j, load(mask_dot + j) + g * xhat);
      vf sum = g * rstd + (op.accumulate ? load(dx + j) : zero);
      if (diff) sum += load(diff + j) * op.loss_scale;
      store(dx + j, sum);
      store(dx_compute + j, compute_scale ? sum * load(compute_scale + j) : sum);
    }
  }
}

static void rmsnorm_backward(const RmsNormBackward& op, int64_t begin, int64_t end, float* mask_dot_part) {
  if (op.saved.dtype != DType::kF32) return rmsnorm_backward_of<bf16, bf16, false>(op, begin, end, mask_dot_part);
  with_compute_type(op.dx_compute.dtype, [&](auto t) {
    with_constant(static_cast<bool>(op.saved_scale),
                  [&](auto scales) { rmsnorm_backward_of<decltype(t), float, scales.value>(op, begin, end, mask_dot_part); });
  });
}

static void add_loss_gradient(const AddLossGradient& op, int64_t begin, int64_t end) {
  with_compute_type(op.dx_compute.dtype, [&](auto t) {
    using T = decltype(t);
    const float* compute_scale = host(op.compute_scale);
    for (int64_t n = begin; n < end; n++) {
      float* g = row_ptr<float>(op.dx, n);
      for (int64_t j = 0; j < op.dx.cols; j += W) {
        vf sum = load(g + j);
        if (op.diff) sum += load(row_ptr<T>(op.diff, n) + j) * op.scale;
        store(g + j, sum);
        store(row_ptr<T>(op.dx_compute, n) + j, compute_scale ? sum * load(compute_scale + j) : sum);
      }
    }
  });
}

}  // namespace espalier::cpu::ESPALIER_ISA

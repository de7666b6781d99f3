// silu(gate) * up and its derivative. gate and up come scaled by their mask, so its gradient is a column sum; their own gradients are
// scaled by it as well.
#pragma once
#include "simd.h"

namespace espalier::cpu::ESPALIER_ISA {

template <class T>
static void swiglu_of(const Swiglu& op, int64_t begin, int64_t end) {
  const int64_t units = op.out.cols;
  for (int64_t n = begin; n < end; n++) {
    const T* gate = row_ptr<T>(op.gate_up, n);
    const T* up = gate + units;
    T* out = row_ptr<T>(op.out, n);
    for (int64_t j = 0; j < units; j += W) {
      const vf g = load(gate + j);
      store(out + j, g * sigmoid(g) * load(up + j));
    }
  }
}

static void swiglu(const Swiglu& op, int64_t begin, int64_t end) {
  with_compute_type(op.out.dtype, [&](auto t) { swiglu_of<decltype(t)>(op, begin, end); });
}

template <class T>
static void swiglu_backward_of(const SwigluBackward& op, int64_t begin, int64_t end, float* unit_dot) {
  const int64_t units = op.out.cols;
  const float* unit_scale = host(op.unit_scale);
  for (int64_t n = begin; n < end; n++) {
    const T* gate = row_ptr<T>(op.gate_up, n);
    const T* dout = row_ptr<T>(op.dout, n);
    T* dgate = row_ptr<T>(op.dgate_up, n);
    T* out = row_ptr<T>(op.out, n);
    for (int64_t j = 0; j < units; j += W) {
      const vf g = load(gate + j), u = load(gate + units + j), d = load(dout + j);
      const vf s = sigmoid(g);
      const vf silu = g * s;
      const vf dg = d * u * (s + silu * (1.0f - s));
      const vf du = d * silu;
      const vf scale = unit_scale ? load(unit_scale + j) : splat(1.0f);
      store(dgate + j, dg * scale);
      store(dgate + units + j, du * scale);
      store(out + j, silu * u);
      store(unit_dot + j, load(unit_dot + j) + dg * g + du * u);
    }
  }
}

static void swiglu_backward(const SwigluBackward& op, int64_t begin, int64_t end, float* unit_dot_part) {
  with_compute_type(op.out.dtype, [&](auto t) { swiglu_backward_of<decltype(t)>(op, begin, end, unit_dot_part); });
}

}  // namespace espalier::cpu::ESPALIER_ISA

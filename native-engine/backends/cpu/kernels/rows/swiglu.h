// activation(gate) * up and its derivative. gate and up are scaled by their mask, here or by their products, so the mask's gradient is a
// column sum; their own gradients are scaled by the mask as well.
#pragma once
#include "simd.h"

namespace espalier::cpu::ESPALIER_ISA {

// Both activations are gate * sigmoid(f(gate)).
struct Silu {
  static vf argument(vf g) { return g; }
  // s: the sigmoid; active: gate * s.
  static vf derivative(vf, vf s, vf active) { return s + active * (1.0f - s); }
};
struct GeluTanh {
  static constexpr float kRoot = 1.5957691216057308f, kCube = 0.044715f;  // 2 sqrt(2 / pi)
  static vf argument(vf g) { return kRoot * (g + kCube * g * g * g); }
  static vf derivative(vf g, vf s, vf active) { return s + active * (1.0f - s) * (kRoot * (1.0f + 3.0f * kCube * g * g)); }
};

template <class T, class A, bool scales>
static void swiglu_of(const Swiglu& op, int64_t begin, int64_t end) {
  const int64_t units = op.out.cols;
  const float* unit_scale = host(op.unit_scale);
  for (int64_t n = begin; n < end; n++) {
    const T* gate = row_ptr<T>(op.gate_up, n);
    const T* up = gate + units;
    T* out = row_ptr<T>(op.out, n);
    for (int64_t j = 0; j < units; j += W) {
      const vf scale = scales ? load(unit_scale + j) : splat(1.0f);
      const vf g = scaled_load<scales>(gate + j, scale);
      store(out + j, g * sigmoid(A::argument(g)) * scaled_load<scales>(up + j, scale));
    }
  }
}

static void swiglu(const Swiglu& op, int64_t begin, int64_t end) {
  with_compute_type(op.out.dtype, [&](auto t) {
    using T = decltype(t);
    with_constant(static_cast<bool>(op.unit_scale), [&](auto scales) {
      op.activation == Activation::kSilu ? swiglu_of<T, Silu, scales.value>(op, begin, end)
                                         : swiglu_of<T, GeluTanh, scales.value>(op, begin, end);
    });
  });
}

template <class T, class A, bool scales, bool dot_of_out>
static void swiglu_backward_of(const SwigluBackward& op, int64_t begin, int64_t end, float* unit_dot) {
  const int64_t units = op.out.cols;
  const float* unit_scale = host(op.unit_scale);
  for (int64_t n = begin; n < end; n++) {
    const T* gate = row_ptr<T>(op.gate_up, n);
    const T* dout = row_ptr<T>(op.dout, n);
    T* dgate = row_ptr<T>(op.dgate_up, n);
    T* out = row_ptr<T>(op.out, n);
    for (int64_t j = 0; j < units; j += W) {
      const vf scale = unit_scale ? load(unit_scale + j) : splat(1.0f);
      const vf g = scaled_load<scales>(gate + j, scale), u = scaled_load<scales>(gate + units + j, scale), d = load(dout + j);
      const vf s = sigmoid(A::argument(g));
      const vf active = g * s;
      const vf dg = d * u * A::derivative(g, s, active);
      const vf du = d * active;
      store(dgate + j, dg * scale);
      store(dgate + units + j, du * scale);
      store(out + j, active * u);
      store(unit_dot + j, dot_of_out ? load(unit_dot + j) + du * u : load(unit_dot + j) + dg * g + du * u);
    }
  }
}

static void swiglu_backward(const SwigluBackward& op, int64_t begin, int64_t end, float* unit_dot_part) {
  with_compute_type(op.out.dtype, [&](auto t) {
    using T = decltype(t);
    with_constant(op.scales_gate_up, [&](auto scales) {
      with_constant(op.dot_of_out, [&](auto dot_of_out) {
        op.activation == Activation::kSilu ? swiglu_backward_of<T, Silu, scales.value, dot_of_out.value>(op, begin, end, unit_dot_part)
                                           : swiglu_backward_of<T, GeluTanh, scales.value, dot_of_out.value>(op, begin, end, unit_dot_part);
      });
    });
  });
}

}  // namespace espalier::cpu::ESPALIER_ISA

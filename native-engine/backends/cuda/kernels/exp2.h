// 2^x by a polynomial in fused multiply-adds, for passes that memory limits. It has the same bits on every card and on the emulator.
#pragma once
#include "tensors/tensor_values.h"

namespace espalier::cuda::ESPALIER_TARGET {

inline constexpr float kLog2e = 1.44269504088896341f, kLn2 = 0.69314718055994531f;

// Returns `by` times the scale of scores.
inline float score_scale(const AttentionShape& s, float by) {
  return s.score_scale > 0 ? by * s.score_scale : by / sqrtf(static_cast<float>(s.head_dim));
}

// Returns (2^f - 1 - f ln 2) / f^2 on [-0.5, 0.5]: the minimax polynomial of 2^f without its first two terms.
__device__ __forceinline__ float exp2_curvature(float f) {
  float p = 1.535336188319500e-4f;
  p = fmaf(p, f, 1.339887440266574e-3f);
  p = fmaf(p, f, 9.618437357674640e-3f);
  p = fmaf(p, f, 5.550332471162809e-2f);
  return fmaf(p, f, 2.402264791363012e-1f);
}

// 2^x with a relative error of about 2e-7. Far below -126 the result is 0, above 127 it is that of 127; NaN stays NaN.
__device__ __forceinline__ float exact_exp2(float x) {
  x = x < -127.0f ? -127.0f : x;
  x = x > 127.0f ? 127.0f : x;
  const float magic = 12582912.0f;  // the last bit of this number is worth 1
  const float t = x + magic, f = x - (t - magic);
  const float power = bits_to_float((float_to_bits(t) - 0x4b400000u + 127u) << 23);
  return fmaf(fmaf(exp2_curvature(f), f, 6.931472028550421e-1f), f, 1.0f) * power;
}

// cap * tanh(x / cap), and its derivative from the result. With e = exp(2 x / cap) - 1, which is computed without the 1, tanh is
// e / (e + 2); the relative error is about 5e-7.
struct SoftCapBy {
  float cap, factor, inverse;
  explicit SoftCapBy(float value) : cap(value), factor(value > 0 ? 2 * kLog2e / value : 0), inverse(value > 0 ? 1 / value : 0) {}

  __device__ __forceinline__ float capped(float x) const {
    x *= factor;
    x = x < -40.0f ? -40.0f : x;
    x = x > 40.0f ? 40.0f : x;
    const float magic = 12582912.0f;  // as in exact_exp2
    const float t = x + magic, f = x - (t - magic);
    const float power = bits_to_float((float_to_bits(t) - 0x4b400000u + 127u) << 23);
    const float e = fmaf(fmaf(exp2_curvature(f), f, 6.931472028550421e-1f) * f, power, power - 1.0f);
    return e / (e + 2.0f) * cap;
  }
  __device__ __forceinline__ float slope(float made) const {
    const float share = made * inverse;
    return fmaf(-share, share, 1.0f);
  }
};

// Calls f with true or false as a constant: kernels without a cap are compiled apart, so that it costs them nothing.
template <class F>
void with_cap(float cap, F&& f) {
  cap > 0 ? f(std::true_type{}) : f(std::false_type{});
}

// 1 / (1 + e^-x) without overflow.
__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + exact_exp2(x * -kLog2e)); }

}  // namespace espalier::cuda::ESPALIER_TARGET

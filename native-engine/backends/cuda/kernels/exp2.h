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

// 1 / (1 + e^-x) without overflow.
__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + exact_exp2(x * -kLog2e)); }

}  // namespace espalier::cuda::ESPALIER_TARGET

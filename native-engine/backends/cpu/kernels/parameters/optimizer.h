// AdamW without weight decay, and the sum of squares in double.
#pragma once
#include "simd.h"

namespace espalier::cpu::ESPALIER_ISA {

static inline vf vsqrt(vf x) {
#if defined(__AVX512F__)
  return (vf)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
  return (vf)_mm256_sqrt_ps((__m256)x);
#else
  for (int i = 0; i < W; i++) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}

struct AdamLanes {
  vf p, m, v;
};

static inline AdamLanes adam_lanes(const AdamW& op, AdamLanes in, vf gradient) {
  const vf g = gradient * op.gradient_scale;
  in.m = in.m * op.beta1 + g * (1.0f - op.beta1);
  in.v = in.v * op.beta2 + g * g * (1.0f - op.beta2);
  const vf denominator = vsqrt(in.v / op.bias_correction2) + op.eps;
  in.p -= (op.learning_rate / op.bias_correction1) * (in.m / denominator);
  if (op.low < op.high) {
    const vf low = splat(op.low), high = splat(op.high);
    in.p = in.p < low ? low : in.p;
    in.p = in.p > high ? high : in.p;
  }
  return in;
}

static void adamw(const AdamW& op, int64_t begin, int64_t end) {
  float *param = host(op.param), *m = host(op.m), *v = host(op.v);
  const float* gradient = host(op.gradient);
  int64_t i = begin;
  for (; i + W <= end; i += W) {
    const AdamLanes r = adam_lanes(op, {load(param + i), load(m + i), load(v + i)}, load(gradient + i));
    store(param + i, r.p);
    store(m + i, r.m);
    store(v + i, r.v);
  }
  if (const int64_t n = end - i; n > 0) {
    const AdamLanes r = adam_lanes(op, {load_part(param + i, n), load_part(m + i, n), load_part(v + i, n)}, load_part(gradient + i, n));
    store_part(param + i, r.p, n);
    store_part(m + i, r.m, n);
    store_part(v + i, r.v, n);
  }
}

static double square_sum(const float* data, int64_t begin, int64_t end) {
  double sums[8] = {};
  int64_t i = begin;
  for (; i + 8 <= end; i += 8)
    for (int k = 0; k < 8; k++) sums[k] += static_cast<double>(data[i + k]) * data[i + k];
  for (; i < end; i++) sums[0] += static_cast<double>(data[i]) * data[i];
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

}  // namespace espalier::cpu::ESPALIER_ISA

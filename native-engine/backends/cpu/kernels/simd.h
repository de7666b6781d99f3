// Vectors of float, their conversions and exp2, by the compiler's vector extensions: one source for every instruction set. All headers of
// this folder are compiled several times with different -m flags, each time into the namespace ESPALIER_ISA.
#pragma once
#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "espalier/base/dtypes.h"
#include "kernel_table.h"

namespace espalier::cpu::ESPALIER_ISA {

#if defined(__AVX512F__)
inline constexpr int W = 16;
#elif defined(__AVX2__)
inline constexpr int W = 8;
#else
inline constexpr int W = 4;
#endif
// The number of vector registers decides how many sums a product keeps in them.
#if defined(__AVX512F__) || defined(__aarch64__)
inline constexpr int kVectorRegisters = 32;
#else
inline constexpr int kVectorRegisters = 16;
#endif

typedef float vf __attribute__((vector_size(W * 4)));
typedef int32_t vi __attribute__((vector_size(W * 4)));
typedef uint32_t vu __attribute__((vector_size(W * 4)));
typedef uint16_t vh __attribute__((vector_size(W * 2)));

struct bf16 {
  uint16_t bits;
};

static inline vf splat(float x) { return x - vf{}; }
static inline vi lane_index() {
  vi v;
  for (int i = 0; i < W; i++) v[i] = i;
  return v;
}

template <class V, class P>
static inline V load_raw(const P* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

static inline vf load(const float* p) { return load_raw<vf>(p); }
static inline vf load(const bf16* p) { return (vf)(__builtin_convertvector(load_raw<vh>(p), vu) << 16); }
static inline void store(float* p, vf v) { std::memcpy(p, &v, sizeof v); }

// Rounds to the nearest, ties to even; NaN stays NaN. The upper half of each lane holds the result.
static inline vu round_to_bf16_high(vf v) {
  const vu u = (vu)v;
  const vu rounded = u + 0x7fffu + ((u >> 16) & 1u);
  return (v == v ? rounded : (vu)vi{} + 0x7fc00000u) & 0xffff0000u;
}

static inline void store(bf16* p, vf v) {
#if defined(__AVX512BF16__)
  const __m256bh h = _mm512_cvtneps_pbh((__m512)v);
  std::memcpy(p, &h, sizeof h);
#else
  const vh h = __builtin_convertvector(round_to_bf16_high(v) >> 16, vh);
  std::memcpy(p, &h, sizeof h);
#endif
}

static inline float to_float(float x) { return x; }
static inline float to_float(bf16 x) {
  const uint32_t u = static_cast<uint32_t>(x.bits) << 16;
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}

// load_part() loads the first n lanes (0 < n < W); the others are 0. store_part() stores the first n lanes.
#if defined(__AVX512F__)
// A mask of the first n of 16 lanes, for any n.
static inline __mmask16 first_lanes(int64_t n) { return static_cast<__mmask16>(n >= 16 ? 0xffff : n <= 0 ? 0 : (1 << n) - 1); }
static inline vf load_part(const float* p, int64_t n) { return (vf)_mm512_maskz_loadu_ps(first_lanes(n), p); }
static inline vf load_part(const bf16* p, int64_t n) {
  return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first_lanes(n), p)), 16);
}
static inline void store_part(float* p, vf v, int64_t n) { _mm512_mask_storeu_ps(p, first_lanes(n), (__m512)v); }
static inline void store_part(bf16* p, vf v, int64_t n) {
  bf16 lanes[W];
  store(lanes, v);
  _mm256_mask_storeu_epi16(p, first_lanes(n), load_raw<__m256i>(lanes));
}
#else
template <class T>
static inline vf load_part(const T* p, int64_t n) {
  T buffer[W] = {};
  std::memcpy(buffer, p, n * sizeof(T));
  return load(buffer);
}
template <class T>
static inline void store_part(T* p, vf v, int64_t n) {
  T buffer[W];
  store(buffer, v);
  std::memcpy(p, buffer, n * sizeof(T));
}
#endif

static inline vf vmax(vf a, vf b) {
#if defined(__AVX512F__)
  return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#else
  return a > b ? a : b;
#endif
}
static inline float sum_lanes(vf v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps((__m512)v);  // adds by halves, as the loop below does
#else
  float lanes[W];
  store(lanes, v);
  for (int step = W / 2; step > 0; step /= 2)
    for (int i = 0; i < step; i++) lanes[i] += lanes[i + step];
  return lanes[0];
#endif
}
static inline float max_lanes(vf v) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps((__m512)v);
#else
  float lanes[W];
  store(lanes, v);
  for (int i = 1; i < W; i++) lanes[0] = lanes[i] > lanes[0] ? lanes[i] : lanes[0];
  return lanes[0];
#endif
}

// Returns (2^f - 1 - f ln 2) / f^2 on [-0.5, 0.5]: the minimax polynomial of 2^f without its first two terms.
static inline vf exp2_curvature(vf f) {
  vf p = splat(1.535336188319500e-4f);
  p = p * f + 1.339887440266574e-3f;
  p = p * f + 9.618437357674640e-3f;
  p = p * f + 5.550332471162809e-2f;
  return p * f + 2.402264791363012e-1f;
}
static inline vf exp2_fraction(vf f) { return (exp2_curvature(f) * f + 6.931472028550421e-1f) * f + 1.0f; }

// 2^x with a relative error of about 2e-7. Far below -126 the result is 0; NaN stays NaN.
static inline vf exp2v(vf x) {
#if defined(__AVX512F__)
  const vf n = (vf)_mm512_roundscale_ps((__m512)x, 8);
  return (vf)_mm512_scalef_ps((__m512)exp2_fraction((vf)_mm512_reduce_ps((__m512)x, 8)), (__m512)n);
#else
  const vf low = splat(-127.0f), high = splat(127.0f);
  x = x < low ? low : x;
  x = x > high ? high : x;
  const vf magic = splat(12582912.0f);
  const vf t = x + magic;
  const vi exponent = ((vi)t - 0x4b400000 + 127) << 23;
  return exp2_fraction(x - (t - magic)) * (vf)exponent;
#endif
}

inline constexpr float kLog2e = 1.44269504088896341f;
inline constexpr float kLn2 = 0.69314718055994531f;

// 1 / x to about 1e-7. x must be positive or infinite.
static inline vf reciprocal(vf x) {
#if defined(__AVX512F__)
  const vf r = (vf)_mm512_rcp14_ps((__m512)x);
  const vf better = r * (2.0f - x * r);
  return x > splat(3e38f) ? vf{} : better;
#else
  return 1.0f / x;
#endif
}

static inline vf sigmoid(vf x) { return reciprocal(1.0f + exp2v(x * -kLog2e)); }

// cap * tanh(x / cap), relative error about 5e-7. With e = exp(2 x / cap) - 1, which is computed without the 1, tanh is e / (e + 2).
static inline vf soft_cap(vf x, float cap) {
  const vf low = splat(-40.0f), high = splat(40.0f), magic = splat(12582912.0f);
  vf y = x * (2 * kLog2e / cap);
  y = y < low ? low : y;
  y = y > high ? high : y;
  const vf t = y + magic, f = y - (t - magic), power = (vf)(((vi)t - 0x4b400000 + 127) << 23);
  const vf e = (exp2_curvature(f) * f + 6.931472028550421e-1f) * f * power + (power - 1.0f);
  return e / (e + 2.0f) * cap;
}
// The derivative of soft_cap, from its result.
static inline vf soft_cap_slope(vf capped, float cap) {
  const vf share = capped * (1 / cap);
  return 1.0f - share * share;
}

template <class T>
static inline T* row_ptr(const Tensor& t, int64_t row) {
  return reinterpret_cast<T*>(t.data.address()) + row * t.stride;
}

// Calls f with a value of the element type that belongs to the compute dtype `t`.
template <class F>
static inline void with_compute_type(DType t, F&& f) {
  if (t == DType::kBF16)
    f(bf16{});
  else
    f(float{});
}

// Calls f with true or false as a constant. Code without a scale is compiled apart, so that its bits don't depend on how a product by 1 is
// contracted.
template <class F>
static void with_constant(bool value, F&& f) {
  value ? f(std::true_type{}) : f(std::false_type{});
}

template <bool scales, class T>
static inline vf scaled_load(const T* at, vf scale) {
  if constexpr (scales)
    return load(at) * scale;
  else
    return load(at);
}

}  // namespace espalier::cpu::ESPALIER_ISA

// Dropout of LoRA's input. It computes 16 counters at a time, which give 64 neighbouring columns of the whole matrix.
#pragma once
#include "espalier/base/random_words.h"
#include "simd.h"

namespace espalier::cpu::ESPALIER_ISA {

inline constexpr int kCounters = 16;
inline constexpr int64_t kDropoutColumns = 4 * kCounters;

// Sets factors[c] to 0 or to the scale, for the columns that begin with counter `index`.
static void dropout_factors(const LoraDropout& op, int64_t index, float* factors) {
  uint32_t c[4][kCounters];
  for (int i = 0; i < kCounters; i++) {
    const RandomWords counter = random_counter(op.step, op.stream, index + i);
    for (int k = 0; k < 4; k++) c[k][i] = counter.w[k];
  }
  uint32_t key0 = static_cast<uint32_t>(op.seed), key1 = static_cast<uint32_t>(op.seed >> 32);
  for (int round = 0; round < kPhiloxRounds; round++) {
    for (int i = 0; i < kCounters; i++) philox_round(c[0][i], c[1][i], c[2][i], c[3][i], key0, key1);
    next_philox_key(key0, key1);
  }
  const uint32_t threshold = op.threshold();
  const float scale = op.scale();
  for (int i = 0; i < kCounters; i++)
    for (int k = 0; k < 4; k++) factors[4 * i + k] = c[k][i] >= threshold ? scale : 0.0f;
}

static inline void put(float* p, float v) { *p = v; }
static inline void put(bf16* p, float v) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, v);
  *p = __builtin_bit_cast(bf16, static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16));
}

template <class X, class Out>
static void dropout_row(const LoraDropout& op, int64_t n) {
  const int32_t* cols = host(op.cols);
  const X* x = row_ptr<const X>(op.x, n);
  Out* out = row_ptr<Out>(op.out, n);
  const int64_t counters = (op.first_row + n) * ((op.in_full + 3) / 4);
  float factors[kDropoutColumns];
  int64_t first = -kDropoutColumns;  // the column of the first factor
  for (int64_t j = 0; j < op.x.cols; j++) {
    const int64_t at = cols ? cols[j] : j < op.in_full ? j : -1;
    if (at >= first + kDropoutColumns) {
      first = at / kDropoutColumns * kDropoutColumns;
      dropout_factors(op, counters + first / 4, factors);
    }
    const float dropped = at < 0 ? 0.0f : to_float(x[j]) * factors[at - first];
    put(out + j, op.accumulate ? to_float(out[j]) + dropped : dropped);
  }
}

static void lora_dropout(const LoraDropout& op, int64_t begin, int64_t end) {
  with_compute_type(op.x.dtype, [&](auto x) {
    with_compute_type(op.out.dtype, [&](auto out) {
      for (int64_t n = begin; n < end; n++) dropout_row<decltype(x), decltype(out)>(op, n);
    });
  });
}

}  // namespace espalier::cpu::ESPALIER_ISA

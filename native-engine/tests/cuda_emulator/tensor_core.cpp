#include "tensor_core.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace espalier::cuda::emulator {

namespace {

constexpr int kFraction = 23, kBias = 127;
constexpr int16_t kZero = -4096, kNotFinite = 4096;  // stand in place of an exponent

// Returns the exponent of a value. A subnormal value has the exponent of the smallest normal one.
int16_t exponent(float v) {
  const int bits = static_cast<int>(std::bit_cast<uint32_t>(v) >> kFraction & 0xff);
  if (v == 0) return kZero;
  return bits == 255 ? kNotFinite : static_cast<int16_t>(std::max(bits, 1) - kBias);
}

double power_of_two(int n) { return std::bit_cast<double>(static_cast<uint64_t>(n + 1023) << 52); }

float cut_off(double v) {
  const auto nearest = static_cast<float>(v);
  return std::isfinite(nearest) && std::abs(static_cast<double>(nearest)) > std::abs(v) ? std::nextafterf(nearest, 0.0f) : nearest;
}

template <int Block, int ExtraBits>
float add_block(float sum, const float* a, const float* b, const int16_t* a_exponents, const int16_t* b_exponents) {
  int16_t most = exponent(sum);
  for (int k = 0; k < Block; k++) most = std::max(most, static_cast<int16_t>(a_exponents[k] + b_exponents[k]));
  if (most < -2 * kBias) return sum;
  if (most > 2 * kBias + 1) {  // the values hold NaN or an infinity
    for (int k = 0; k < Block; k++) sum += a[k] * b[k];
    return sum;
  }
  // In units of the last bit that is kept, every value is below 2^28. So a block of values is added exactly.
  const int last = most - kFraction - ExtraBits;
  const double units = power_of_two(-last);
  auto total = static_cast<int64_t>(static_cast<double>(sum) * units);
  if (most > -90 && most < 90) {  // products and units are exact in f32 here
    const auto f32_units = static_cast<float>(units);
    int32_t products[Block];
    for (int k = 0; k < Block; k++) products[k] = static_cast<int32_t>(a[k] * b[k] * f32_units);
    for (int from = 0; from < Block; from += 8) {
      int32_t part = 0;
      for (int k = from; k < from + 8; k++) part += products[k];
      total += part;
    }
  } else {
    for (int k = 0; k < Block; k++) total += static_cast<int64_t>(static_cast<double>(a[k]) * static_cast<double>(b[k]) * units);
  }
  return cut_off(static_cast<double>(total) * power_of_two(last));
}

}  // namespace

void Factors::set_exponents() { std::transform(values, values + 16, exponents, exponent); }

TensorCore& tensor_core() {
  static TensorCore core = TensorCore::kA100;
  return core;
}

float add_products(TensorCore core, float sum, const Factors& a, const Factors& b) {
  if (core == TensorCore::kH100) return add_block<16, 2>(sum, a.values, b.values, a.exponents, b.exponents);
  for (int k = 0; k < 16; k += 8) sum = add_block<8, 1>(sum, a.values + k, b.values + k, a.exponents + k, b.exponents + k);
  return sum;
}

}  // namespace espalier::cuda::emulator

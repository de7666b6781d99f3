#include "tensor_cores/tensor_core.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace espalier::cuda::emulator {

namespace {

constexpr int kFraction = 23, kBias = 127;
// These stand in place of an exponent. A zero times an infinity is not finite either.
constexpr int16_t kZero = -4096, kNotFinite = 12288;
constexpr int16_t kNothing = -2 * kBias;  // an exponent below this: the sum and all products are 0
constexpr int16_t kUsual = 90;            // between -kUsual and kUsual, products in units of their last bit are exact in f32

// Returns the exponent of a value. A subnormal value has the exponent of the smallest normal one. There is no branch, so that loops over
// this become instructions for several values at once.
inline int16_t exponent(float v) {
  const int32_t bits = static_cast<int32_t>(std::bit_cast<uint32_t>(v) >> kFraction & 0xff);
  const int32_t finite = (bits == 0 ? 1 : bits) - kBias;
  const int32_t any = bits == 255 ? kNotFinite : finite;
  return static_cast<int16_t>(v == 0 ? kZero : any);
}

double power_of_two(int n) { return std::bit_cast<double>(static_cast<uint64_t>(n + 1023) << 52); }

// The columns of a tile, with the values of one place in all columns beside each other.
struct Columns {
  float values[kTileDepth][kTileColumns];
  int16_t exponents[kTileDepth][kTileColumns];
  bool finite;
};

float cut_off(double v) {
  const auto nearest = static_cast<float>(v);
  return std::isfinite(nearest) && std::abs(static_cast<double>(nearest)) > std::abs(v) ? std::nextafterf(nearest, 0.0f) : nearest;
}

template <int Block, int ExtraBits>
float add_block(float sum, const float* a, const float* b, const int16_t* a_exponents, const int16_t* b_exponents) {
  int16_t most = exponent(sum);
  for (int k = 0; k < Block; k++) most = std::max(most, static_cast<int16_t>(a_exponents[k] + b_exponents[k]));
  if (most < kNothing) return sum;
  if (most > 2 * kBias + 1) {  // the values hold NaN or an infinity
    for (int k = 0; k < Block; k++) sum += a[k] * b[k];
    return sum;
  }
  // In units of the last bit that is kept, every value is below 2^28. So a block of values is added exactly.
  const int last = most - kFraction - ExtraBits;
  const double units = power_of_two(-last);
  auto total = static_cast<int64_t>(static_cast<double>(sum) * units);
  for (int k = 0; k < Block; k++) total += static_cast<int64_t>(static_cast<double>(a[k]) * static_cast<double>(b[k]) * units);
  return cut_off(static_cast<double>(total) * power_of_two(last));
}

// Adds a block of products to a row of sums, as add_block does to each of them, but several at once in f32. Returns false where an exponent
// is too small or too large for that.
template <int Block, int ExtraBits>
bool add_usual_block(float (&sums)[kTileColumns], const Factors& row, int from, const Columns& columns) {
  // Zeros add nothing, and all rows of a tile beyond the matrix are zeros.
  int16_t most_of_row = kZero;
  for (int k = from; k < from + Block; k++) most_of_row = std::max(most_of_row, row.exponents[k]);
  if (most_of_row == kZero && columns.finite) return true;

  int16_t most[kTileColumns];
  for (int j = 0; j < kTileColumns; j++) most[j] = exponent(sums[j]);
  for (int k = from; k < from + Block; k++)
    for (int j = 0; j < kTileColumns; j++) most[j] = std::max(most[j], static_cast<int16_t>(row.exponents[k] + columns.exponents[k][j]));
  int unusual = 0;
  for (int j = 0; j < kTileColumns; j++) unusual |= (most[j] >= kUsual) | ((most[j] <= -kUsual) & (most[j] >= kNothing));
  if (unusual) return false;

  float units[kTileColumns], last_bit[kTileColumns];
  double total[kTileColumns];
  for (int j = 0; j < kTileColumns; j++) {
    const int32_t last = (most[j] < kNothing ? 0 : most[j]) - kFraction - ExtraBits;
    units[j] = std::bit_cast<float>((kBias - last) << kFraction);
    last_bit[j] = std::bit_cast<float>((kBias + last) << kFraction);
    total[j] = static_cast<int32_t>(sums[j] * units[j]);
  }
  for (int first = from; first < from + Block; first += 8) {
    int32_t part[kTileColumns] = {};
    for (int k = first; k < first + 8; k++)
      for (int j = 0; j < kTileColumns; j++) part[j] += static_cast<int32_t>(row.values[k] * columns.values[k][j] * units[j]);
    for (int j = 0; j < kTileColumns; j++) total[j] += part[j];
  }
  // A double has 29 bits more than f32. The total is whole, so cutting them off leaves what f32 holds.
  for (int j = 0; j < kTileColumns; j++) {
    const auto cut = std::bit_cast<double>(std::bit_cast<uint64_t>(total[j]) & ~uint64_t{0x1fffffff});
    sums[j] = most[j] < kNothing ? sums[j] : static_cast<float>(cut) * last_bit[j];
  }
  return true;
}

bool are_finite(const Factors (&rows)[kTileRows]) {
  int16_t most = kZero;
  for (const Factors& row : rows)
    for (const int16_t e : row.exponents) most = std::max(most, e);
  return most < kNotFinite;
}

}  // namespace

void Factors::set_exponents() {
  for (int k = 0; k < kTileDepth; k++) exponents[k] = exponent(values[k]);
}

TensorCore& tensor_core() {
  static TensorCore core = TensorCore::kA100;
  return core;
}

float add_products(TensorCore core, float sum, const Factors& a, const Factors& b) {
  if (core == TensorCore::kH100) return add_block<16, 2>(sum, a.values, b.values, a.exponents, b.exponents);
  for (int k = 0; k < 16; k += 8) sum = add_block<8, 1>(sum, a.values + k, b.values + k, a.exponents + k, b.exponents + k);
  return sum;
}

void add_tile(TensorCore core, float (&sums)[kTileRows][kTileColumns], const Factors (&rows)[kTileRows],
              const Factors (&columns)[kTileColumns]) {
  Columns turned;
  int16_t most = kZero;
  for (int k = 0; k < kTileDepth; k++)
    for (int j = 0; j < kTileColumns; j++) {
      turned.values[k][j] = columns[j].values[k];
      turned.exponents[k][j] = columns[j].exponents[k];
      most = std::max(most, columns[j].exponents[k]);
    }
  turned.finite = most < kNotFinite;
  if (most == kZero && are_finite(rows)) return;
  for (int i = 0; i < kTileRows; i++) {
    float before[kTileColumns];
    std::copy_n(sums[i], kTileColumns, before);
    const bool done = core == TensorCore::kH100
                          ? add_usual_block<16, 2>(sums[i], rows[i], 0, turned)
                          : add_usual_block<8, 1>(sums[i], rows[i], 0, turned) && add_usual_block<8, 1>(sums[i], rows[i], 8, turned);
    if (done) continue;
    for (int j = 0; j < kTileColumns; j++) sums[i][j] = add_products(core, before[j], rows[i], columns[j]);
  }
}

}  // namespace espalier::cuda::emulator

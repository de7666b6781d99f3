#include "files/stored_type.h"

#include <algorithm>
#include <cmath>

namespace espalier {
namespace {

constexpr float kF16Overflow = 65520.0f;  // the least value that rounds to infinity

bool leaves_f16(float value) { return std::isfinite(value) && std::fabs(value) >= kF16Overflow; }

bool encode_q8_block(const float* values, uint8_t* out) {
  float largest = 0;
  for (size_t i = 0; i < kQ8BlockValues; ++i) largest = std::max(largest, std::fabs(values[i]));
  const float scale = largest / 127.0f;
  // A subnormal scale has no finite inverse, and f16 stores it as zero anyway.
  const float inverse = std::isnormal(scale) ? 1.0f / scale : 0.0f;
  encode(scale, DType::kF16, out);
  for (size_t i = 0; i < kQ8BlockValues; ++i) {
    out[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(std::lround(std::clamp(values[i] * inverse, -127.0f, 127.0f))));
  }
  return !leaves_f16(scale);
}

DType dtype_of(StoredType type) { return type == StoredType::kF32 ? DType::kF32 : type == StoredType::kF16 ? DType::kF16 : DType::kBF16; }

}  // namespace

uint64_t stored_row_bytes(StoredType type, size_t values) {
  if (type == StoredType::kQ8_0) return values / kQ8BlockValues * kQ8BlockBytes;
  return values * (type == StoredType::kF32 ? 4 : 2);
}

bool encode_row(std::span<const float> row, StoredType type, uint8_t* out) {
  bool fits = true;
  if (type == StoredType::kQ8_0) {
    for (size_t i = 0; i < row.size() / kQ8BlockValues; ++i) {
      fits = encode_q8_block(row.data() + i * kQ8BlockValues, out + i * kQ8BlockBytes) && fits;
    }
    return fits;
  }
  const size_t bytes = type == StoredType::kF32 ? 4 : 2;
  for (size_t i = 0; i < row.size(); ++i) {
    if (type == StoredType::kF16 && leaves_f16(row[i])) fits = false;
    encode(row[i], dtype_of(type), out + i * bytes);
  }
  return fits;
}

double squared_error(std::span<const float> row, StoredType type, const uint8_t* stored) {
  double sum = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    const float value = type == StoredType::kQ8_0 ? decode_q8(stored + i / kQ8BlockValues * kQ8BlockBytes, i % kQ8BlockValues)
                                                  : decode(stored, dtype_of(type), static_cast<int64_t>(i));
    const double difference = static_cast<double>(value) - static_cast<double>(row[i]);
    sum += difference * difference;
  }
  return sum;
}

}  // namespace espalier

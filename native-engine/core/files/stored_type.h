// The forms in which an exported file stores numbers, row by row.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "files/number_formats.h"

namespace espalier {

// kQ8_0: blocks of 32 values of one row; each block is an f16 scale and 32 signed bytes.
enum class StoredType { kF32, kF16, kBF16, kQ8_0 };

constexpr size_t kQ8BlockValues = 32;
constexpr size_t kQ8BlockBytes = 2 + kQ8BlockValues;

inline StoredType stored_type_of(DType dtype) {
  return dtype == DType::kF32 ? StoredType::kF32 : dtype == DType::kF16 ? StoredType::kF16 : StoredType::kBF16;
}

uint64_t stored_row_bytes(StoredType type, size_t values);

// Returns false where a finite value lies beyond the range of f16, the only type whose range trained weights can leave.
bool encode_row(std::span<const float> row, StoredType type, uint8_t* out);

// Returns the sum of the squares of the changes that rounding made in a row that encode_row wrote.
double squared_error(std::span<const float> row, StoredType type, const uint8_t* stored);

// Returns the value at `index` of one block of Q8_0.
inline float decode_q8(const uint8_t* block, size_t index) {
  return decode(block, DType::kF16, 0) * static_cast<float>(static_cast<int8_t>(block[2 + index]));
}

}  // namespace espalier

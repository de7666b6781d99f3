// Reads values of a stored matrix of any dtype. A tensor of a file may begin at an odd address; then a value is read byte by byte.
#pragma once
#include "tensors/tensor_values.h"

namespace espalier::cuda::ESPALIER_TARGET {

__device__ __forceinline__ float half_to_float(uint16_t bits) {
  const uint32_t sign = (bits & 0x8000u) << 16, rest = bits & 0x7fffu;
  if (rest >= 0x7c00u) return bits_to_float(sign | 0x7f800000u | (rest & 0x3ffu) << 13);  // infinity or NaN
  // Shifted into place, the number is too small by a factor of 2^(127-15). One exact product corrects normal and subnormal numbers alike.
  return bits_to_float(sign | float_to_bits(bits_to_float(rest << 13) * 5.192296858534828e33f));
}

// Returns the value of a stored dtype that has these bits.
template <DType stored>
__device__ __forceinline__ float decode_bits(uint32_t bits) {
  if constexpr (stored == DType::kF32) return bits_to_float(bits);
  if constexpr (stored == DType::kBF16) return to_float(bf16{static_cast<uint16_t>(bits)});
  return half_to_float(static_cast<uint16_t>(bits));
}

// Returns the bits at an address, which are read byte by byte unless the address is a multiple of their size.
template <class Bits>
__device__ __forceinline__ Bits bits_at(const uint8_t* at) {
  if (reinterpret_cast<uint64_t>(at) % sizeof(Bits) == 0) return load(reinterpret_cast<const Bits*>(at));
  uint32_t bits = 0;
  SIMT_UNROLL
  for (unsigned b = 0; b < sizeof(Bits); b++) bits |= static_cast<uint32_t>(load(at + b)) << (8 * b);
  return static_cast<Bits>(bits);
}

struct Stored {
  const uint8_t* data;
  DType dtype;
  int64_t cols;

  __device__ __forceinline__ float at(int64_t row, int64_t col) const {
    const int64_t i = row * cols + col;
    if (dtype == DType::kF32) return decode_bits<DType::kF32>(bits_at<uint32_t>(data + i * 4));
    const uint16_t bits = bits_at<uint16_t>(data + i * 2);
    return dtype == DType::kBF16 ? decode_bits<DType::kBF16>(bits) : decode_bits<DType::kF16>(bits);
  }
};

inline Stored stored(const StoredMatrix& m) {
  const auto bytes = static_cast<uint64_t>(m.rows * m.cols * dtype_bytes(m.dtype));
  return {reinterpret_cast<const uint8_t*>(kernel_address(m.data.address(), bytes)), m.dtype, m.cols};
}

}  // namespace espalier::cuda::ESPALIER_TARGET

// Values of a stored matrix, of any dtype. A file's tensor may begin at an odd address; then a value is read by its bytes.
#pragma once
#include "types.h"

namespace espalier::cuda::ESPALIER_TARGET {

__device__ __forceinline__ float half_to_float(uint16_t bits) {
  const uint32_t sign = (bits & 0x8000u) << 16, rest = bits & 0x7fffu;
  if (rest >= 0x7c00u) return bits_to_float(sign | 0x7f800000u | (rest & 0x3ffu) << 13);  // infinity, NaN
  // Shifted into place the number is too small by 2^(127-15): one exact product mends normal and subnormal alike.
  return bits_to_float(sign | float_to_bits(bits_to_float(rest << 13) * 5.192296858534828e33f));
}

struct Stored {
  const uint8_t* data;
  DType dtype;
  int64_t cols;

  __device__ __forceinline__ float at(int64_t row, int64_t col) const {
    const int64_t i = row * cols + col;
    if (dtype == DType::kF32) return bits_to_float(bits<uint32_t>(i));
    const uint16_t half = bits<uint16_t>(i);
    return dtype == DType::kBF16 ? to_float(bf16{half}) : half_to_float(half);
  }

 private:
  template <class T>
  __device__ __forceinline__ T bits(int64_t i) const {
    const uint8_t* p = data + i * sizeof(T);
    if (reinterpret_cast<uint64_t>(data) % sizeof(T) == 0) return load(reinterpret_cast<const T*>(p));
    T v = 0;
    for (unsigned b = 0; b < sizeof(T); b++) v = static_cast<T>(v | static_cast<T>(load(p + b)) << (8 * b));
    return v;
  }
};

inline Stored stored(const StoredMatrix& m) {
  const auto bytes = static_cast<uint64_t>(m.rows * m.cols * dtype_bytes(m.dtype));
  return {reinterpret_cast<const uint8_t*>(kernel_address(m.data.address(), bytes)), m.dtype, m.cols};
}

}  // namespace espalier::cuda::ESPALIER_TARGET

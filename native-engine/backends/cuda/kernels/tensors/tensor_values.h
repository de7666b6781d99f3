// Tensors and lists as kernels see them, and how kernels read and write values of the compute dtype.
//
// Four neighbouring values are one access where rows begin at multiples of four values: widths are multiples of kWidthMultiple, and so are
// the strides and first columns of tensors. matrix() refuses others.
#pragma once
#include "device/ops.h"
#include "espalier/base/error.h"
#include "instructions.h"

namespace espalier::cuda::ESPALIER_TARGET {

struct bf16 {
  uint16_t bits;
};

struct alignas(16) Four {
  float x, y, z, w;
};
struct alignas(8) FourBf16 {
  uint32_t low, high;  // pairs of values, the first in the lower half
};

__device__ __forceinline__ float bits_to_float(uint32_t bits) {
  float v;
  memcpy(&v, &bits, sizeof v);
  return v;
}

__device__ __forceinline__ uint32_t float_to_bits(float v) {
  uint32_t bits;
  memcpy(&bits, &v, sizeof bits);
  return bits;
}

__device__ __forceinline__ float to_float(float v) { return v; }
__device__ __forceinline__ float to_float(bf16 v) { return bits_to_float(static_cast<uint32_t>(v.bits) << 16); }

__device__ __forceinline__ Four load4(const float* p) { return load(reinterpret_cast<const Four*>(p)); }
__device__ __forceinline__ Four load4(const bf16* p) {
  const FourBf16 v = load(reinterpret_cast<const FourBf16*>(p));
  return {bits_to_float(v.low << 16), bits_to_float(v.low & 0xffff0000u), bits_to_float(v.high << 16), bits_to_float(v.high & 0xffff0000u)};
}

__device__ __forceinline__ float load1(const float* p) { return load(p); }
__device__ __forceinline__ float load1(const bf16* p) { return to_float(load(p)); }
__device__ __forceinline__ void store1(float* p, float v) { store(p, v); }
__device__ __forceinline__ void store1(bf16* p, float v) { store(p, bf16{round_to_bf16(v)}); }

__device__ __forceinline__ uint32_t bf16_pair(float first, float second) {
  return static_cast<uint32_t>(round_to_bf16(first)) | static_cast<uint32_t>(round_to_bf16(second)) << 16;
}
__device__ __forceinline__ void store4(float* p, Four v) { store(reinterpret_cast<Four*>(p), v); }
__device__ __forceinline__ void store4(bf16* p, Four v) {
  store(reinterpret_cast<FourBf16*>(p), FourBf16{bf16_pair(v.x, v.y), bf16_pair(v.z, v.w)});
}

// Returns f(x, y) for each of the four values.
template <class F>
__device__ __forceinline__ Four each(Four a, Four b, F&& f) {
  return {f(a.x, b.x), f(a.y, b.y), f(a.z, b.z), f(a.w, b.w)};
}
__device__ __forceinline__ Four operator*(Four a, Four b) {
  return each(a, b, [](float x, float y) { return x * y; });
}
__device__ __forceinline__ Four operator+(Four a, Four b) {
  return each(a, b, [](float x, float y) { return x + y; });
}
__device__ __forceinline__ Four all4(float v) { return {v, v, v, v}; }
// Returns a * b + c with one rounding. Nothing else is contracted, so the emulator and the device give equal bits.
__device__ __forceinline__ Four fma4(Four a, Four b, Four c) {
  return {fmaf(a.x, b.x, c.x), fmaf(a.y, b.y, c.y), fmaf(a.z, b.z, c.z), fmaf(a.w, b.w, c.w)};
}
__device__ __forceinline__ float sum4(Four v) { return (v.x + v.y) + (v.z + v.w); }

// The memory of a tensor; data is nullptr where the tensor is empty.
template <class T>
struct Matrix {
  T* data;
  int64_t stride;
  __device__ T* row(int64_t n) const { return data + n * stride; }
};

template <class T>
T* list(DevicePtr<T> p, int64_t count) {
  if (!p) return nullptr;
  return reinterpret_cast<T*>(kernel_address(p.address(), static_cast<uint64_t>(count) * sizeof(T)));
}

// Returns a matrix for kernels that take one value at a time. readable: the columns of a row that are read, at least those of the tensor.
template <class T>
Matrix<T> any_matrix(const Tensor& t, int64_t readable) {
  if (!t || t.rows == 0) return {nullptr, 0};
  const auto values = static_cast<uint64_t>((t.rows - 1) * t.stride + readable);
  return {reinterpret_cast<T*>(kernel_address(t.data.address(), values * sizeof(T))), t.stride};
}

template <class T>
Matrix<T> matrix(const Tensor& t) {
  if (t && t.rows > 0 && (t.data.address() % (4 * sizeof(T)) != 0 || t.stride % 4 != 0))
    throw Error(ErrorCode::kInternal, "backend", "a tensor begins or continues at no multiple of four values");
  return any_matrix<T>(t, t.cols);
}

// Calls f with a value of the compute dtype's type.
template <class F>
void with_compute_type(DType type, F&& f) {
  if (type == DType::kF32) return f(float{});
  if (type == DType::kBF16) return f(bf16{});
  throw Error(ErrorCode::kInternal, "backend", "a compute dtype is f32 or bf16");
}

}  // namespace espalier::cuda::ESPALIER_TARGET

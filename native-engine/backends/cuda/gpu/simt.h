// The names that kernels are written with, on the device. The tests' emulator has a header with the same file name and the same names for
// g++.
//
// CUDA's own names (__global__, __device__, threadIdx, __syncthreads, ...) have their usual meaning. This header adds:
//   launch_kernel(name, kernel, grid, block, shared_bytes, stream, args...)   instead of <<<>>>
//   SIMT_SHARED(type, name, count)     static shared memory; dynamic_shared<T>() is the shared memory that the launch asked for
//   shuffle_xor, shuffle, ballot       among all 32 lanes of a warp
//   load(p), store(p, v)               global memory; the emulator counts the accesses where a test asks for it
//   SIMT_UNROLL, SIMT_ROLLED           before a loop: its arrays stay in registers, or its body is compiled only once
//   instructions.h                     single instructions: cp.async, ldmatrix, mma
#pragma once
#include <cuda_runtime.h>

#include <cstdint>
#include <string>
#include <tuple>

#include "launch_log.h"
#include "runtime.h"

namespace espalier::cuda::ESPALIER_TARGET {

inline constexpr unsigned kWholeWarp = 0xffffffffu;

[[noreturn]] void refuse_launch(int code, const char* kernel);  // defined in runtime.cpp

// Arguments are converted to the kernel's parameter types before they are passed, so an int may stand for an int64_t.
template <class... P, class... A>
void launch_kernel(const char* name, void (*kernel)(P...), dim3 grid, dim3 block, uint32_t shared_bytes, StreamHandle stream, A&&... args) {
  std::tuple<P...> values(static_cast<P>(args)...);
  cudaError_t code = cudaSuccess;
  if (must_ask_for_shared(shared_bytes))
    code = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                static_cast<int>(shared_bytes));
  if (code == cudaSuccess)
    code = std::apply(
        [&](auto&... value) {
          void* pointers[] = {&value...};
          return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), grid, block, pointers, shared_bytes,
                                  reinterpret_cast<cudaStream_t>(stream));
        },
        values);
  if (code != cudaSuccess) refuse_launch(code, name);
  note_launch(name);
}

// SIMT_UNROLL stands before a loop whose arrays must stay in registers, SIMT_ROLLED before a loop whose turns must share the registers.
#define SIMT_UNROLL _Pragma("unroll")
#define SIMT_ROLLED _Pragma("unroll 1")

#define SIMT_SHARED(type, name, count) __shared__ alignas(16) type name[count]

template <class T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char simt_dynamic_shared[];
  return reinterpret_cast<T*>(simt_dynamic_shared);
}

template <class T>
__device__ __forceinline__ T shuffle_xor(T v, int mask) {
  return __shfl_xor_sync(kWholeWarp, v, mask);
}
template <class T>
__device__ __forceinline__ T shuffle(T v, int lane) {
  return __shfl_sync(kWholeWarp, v, lane);
}
__device__ __forceinline__ unsigned ballot(bool v) { return __ballot_sync(kWholeWarp, v); }

template <class T>
__device__ __forceinline__ T load(const T* p) {
  return *p;
}
template <class T>
__device__ __forceinline__ void store(T* p, T v) {
  *p = v;
}
template <class T>
__device__ __forceinline__ T shared_load(const T* p) {
  return *p;
}
template <class T>
__device__ __forceinline__ void shared_store(T* p, T v) {
  *p = v;
}

// Counts arithmetic in the emulator that is not an instruction of instructions.h.
__device__ __forceinline__ void count_flops(int64_t) {}

}  // namespace espalier::cuda::ESPALIER_TARGET

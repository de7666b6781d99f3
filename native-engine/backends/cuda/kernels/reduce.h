// Sums over the threads of a warp and of a block, always in the same order.
#pragma once
#include "simt.h"

namespace espalier::cuda::ESPALIER_TARGET {

inline constexpr int kWarpSize = 32, kMostWarps = 32;

template <class T>
__device__ __forceinline__ T warp_sum(T v) {
  for (int distance = 16; distance > 0; distance /= 2) v += shuffle_xor(v, distance);
  return v;
}

// Adds the values of a block of whole warps in one dimension. All threads get the sum. `space` has one value for each warp, and is free
// again when this returns.
template <class T>
__device__ __forceinline__ T block_sum(T v, T* space) {
  v = warp_sum(v);
  const int warps = static_cast<int>(blockDim.x) / kWarpSize;
  if (warps == 1) return v;
  if (threadIdx.x % kWarpSize == 0) shared_store(space + threadIdx.x / kWarpSize, v);
  __syncthreads();
  T sum = shared_load(space);
  for (int w = 1; w < warps; w++) sum += shared_load(space + w);
  __syncthreads();
  return sum;
}

// The rows of one part (row_parts.h).
struct Rows {
  int64_t begin, end;
};
__device__ __forceinline__ Rows rows_of_part(int64_t rows, int64_t part, int64_t parts) {
  return {rows * part / parts, rows * (part + 1) / parts};
}

// Returns the number of threads for a row of `width` values, of which a thread takes four at a time.
inline unsigned threads_for_row(int64_t width) {
  constexpr int64_t kMost = 256;
  const int64_t warps = (width / 4 + kWarpSize - 1) / kWarpSize;
  return static_cast<unsigned>(warps < 1 ? kWarpSize : warps * kWarpSize > kMost ? kMost : warps * kWarpSize);
}

}  // namespace espalier::cuda::ESPALIER_TARGET

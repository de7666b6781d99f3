// What the kernels of products are given: dense factors in the compute dtype, rows at multiples of 16 bytes.
#pragma once
#include "types.h"

namespace espalier::cuda::ESPALIER_TARGET {

template <class T>
struct ProductPart {
  const T* a;  // [rows, depth]
  int64_t a_stride;
  const T* b;  // [depth, cols]; [cols, depth] where transposed
  int64_t b_stride;
  int32_t depth;
};

template <class T, class C>
struct ProductArguments {
  ProductPart<T> parts[6];
  int count;
  C* c;  // at any multiple of its size
  int64_t c_stride;
  int32_t rows, cols;
  const float* column_scale;  // nullptr: ones
  bool accumulate;
};

}  // namespace espalier::cuda::ESPALIER_TARGET

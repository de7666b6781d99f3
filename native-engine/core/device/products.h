// The products of activations with the open rows and columns of stored matrices.
#pragma once
#include <array>

#include "device/memory.h"

namespace espalier {

// Rows and columns of a stored matrix, as a product sees them: value(i, j) = scale * stored[row_index[i], col_index[j]]. An index of -1
// stands for a row or column of zeros. Without a list, places beyond the stored matrix are zeros too.
struct Selection {
  StoredMatrix stored;  // any dtype
  int64_t rows = 0, cols = 0;
  DevicePtr<const int32_t> row_index;  // [rows]; nullptr stands for the identity
  DevicePtr<const int32_t> col_index;  // [cols]
  float scale = 1;
};

// c (+)= column_scale * the sum over the terms of a b, or of a b^T where `transposed`: the selections are [out, in] then.
struct ProductTerm {
  Tensor a;     // compute dtype [N, in]
  Selection b;  // [in, out], or [out, in] where transposed
};
struct Product {
  Tensor c;  // f32 or compute dtype [N, out]
  std::array<ProductTerm, 6> terms;
  int count = 0;
  bool transposed = false;
  bool accumulate = false;  // c must be f32 then
  // True where the order of a sum may depend on the product's shape. Otherwise the bits of a row do not depend on the other rows.
  bool by_shape = false;
  DevicePtr<const float> column_scale;  // [out]; nullptr stands for ones

  void add(Tensor a, const Selection& b);  // throws where there is no room for another term
};

// to[j, n] = from[n, j], with zeros in the columns of `to` beyond from's rows. It makes dy^T, whose product with x is a weight's gradient.
struct Transpose {
  Tensor to, from;  // `to` is [from.cols, from.rows, padded]; both have the same compute dtype
};

}  // namespace espalier

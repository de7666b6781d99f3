// The products of activations with the open rows and columns of stored matrices.
#pragma once
#include <array>

#include "device/memory.h"

namespace espalier {

// Rows and columns of a stored matrix, as a product sees them: value(i, j) = scale * stored[row_index[i], col_index[j]]. An
// index of -1 is a row or column of zeros. Without a list, places beyond the stored matrix are zeros too.
struct Selection {
  StoredMatrix stored;  // any dtype
  int64_t rows = 0, cols = 0;
  DevicePtr<const int32_t> row_index;  // [rows]; nullptr: identity
  DevicePtr<const int32_t> col_index;  // [cols]
  float scale = 1;
};

// c (+)= column_scale * the sum of the terms a b, or a b^T where the selections lie as [out, in].
struct ProductTerm {
  Tensor a;     // compute dtype [N, in]
  Selection b;  // [in, out]; [out, in] where transposed
};
struct Product {
  Tensor c;  // f32 or compute dtype [N, out]
  std::array<ProductTerm, 6> terms;
  int count = 0;
  bool transposed = false;
  bool accumulate = false;  // c is f32 then
  // The order of a sum may depend on the product's shape. Otherwise the bits of a row do not depend on the other rows.
  bool by_shape = false;
  DevicePtr<const float> column_scale;  // [out]; nullptr: ones

  void add(Tensor a, const Selection& b);  // throws beyond the terms that there is room for
};

// to[j, n] = from[n, j], and zeros in the columns of `to` beyond from's rows: dy^T, whose product with x is a weight's gradient.
struct Transpose {
  Tensor to, from;  // compute dtype [from.cols, from.rows, padded], and of the same dtype
};

}  // namespace espalier

// Factors of products as dense matrices, whatever dtype, lists and scale they are stored with.
#pragma once
#include "types.h"

namespace espalier::cuda::ESPALIER_TARGET {

inline constexpr int64_t kPackMultiple = 8;  // values to which packed rows are padded with zeros: 16 bytes of bf16
inline int64_t packed_stride(int64_t cols) { return (cols + kPackMultiple - 1) / kPackMultiple * kPackMultiple; }

// to[i, j] = scale * from[row_index[i], col_index[j]], zeros where an index is -1 or beyond the stored matrix.
struct Packing {
  const uint8_t* from;  // at any address
  DType dtype;
  int64_t stride, stored_rows, stored_cols;
  const int32_t *row_index, *col_index;  // nullptr: identity
  int64_t rows, cols;
  float scale;
};

// to: [rows, packed_stride(cols)]
void pack(StreamHandle stream, const Packing& p, float* to);
void pack(StreamHandle stream, const Packing& p, bf16* to);

}  // namespace espalier::cuda::ESPALIER_TARGET

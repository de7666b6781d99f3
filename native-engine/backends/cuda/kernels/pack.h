// Makes factors of products dense, whatever dtype, lists and scale they are stored with.
#pragma once
#include "types.h"

namespace espalier::cuda::ESPALIER_TARGET {

inline constexpr int64_t kPackMultiple = 8;  // packed rows are padded with zeros to a multiple of this number of values: 16 bytes of bf16
inline int64_t packed_stride(int64_t cols) { return (cols + kPackMultiple - 1) / kPackMultiple * kPackMultiple; }

// to[i, j] = scale * from[row_index[i], col_index[j]], with zeros where an index is -1 or beyond the stored matrix.
struct Packing {
  const uint8_t* from;  // at any address
  DType dtype;
  int64_t stride, stored_rows, stored_cols;
  const int32_t *row_index, *col_index;  // nullptr stands for the identity
  int64_t rows, cols;
  float scale;
};

// Each fills to: [rows, packed_stride(cols)].
void pack(StreamHandle stream, const Packing& p, float* to);
void pack(StreamHandle stream, const Packing& p, bf16* to);

}  // namespace espalier::cuda::ESPALIER_TARGET

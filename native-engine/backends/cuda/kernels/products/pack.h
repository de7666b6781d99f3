// Makes factors of products dense, whatever dtype, lists and scale they are stored with.
#pragma once
#include "tensors/tensor_values.h"

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

// Returns true where a product can read a matrix in place.
template <class T>
bool is_dense(DType dtype, uint64_t address, int64_t stride) {
  return dtype == (sizeof(T) == 4 ? DType::kF32 : DType::kBF16) && address % 16 == 0 && stride * static_cast<int64_t>(sizeof(T)) % 16 == 0;
}
template <class T>
bool is_dense(const Tensor& a) {
  return is_dense<T>(a.dtype, a.data.address(), a.stride);
}

template <class T>
bool is_dense(const Selection& b) {
  return !b.row_index && !b.col_index && b.scale == 1 && b.rows <= b.stored.rows && b.cols <= b.stored.cols &&
         is_dense<T>(b.stored.dtype, b.stored.data.address(), b.stored.cols);
}

// Returns the packing of a selection's part for the columns [from, from + count) of a product's result.
Packing packing_of(const Selection& b, bool transposed, int64_t from, int64_t count);
Packing packing_of(const Tensor& a);

// The columns that a packing fills in rows of `stride` values. The columns beyond those of the packing become zeros.
struct PackedRows {
  int64_t filled, stride;  // both are multiples of kPackMultiple
};
void pack(StreamHandle stream, const Packing& p, float* to, PackedRows rows);
void pack(StreamHandle stream, const Packing& p, bf16* to, PackedRows rows);
// Fills to: [rows, packed_stride(cols)].
template <class T>
void pack(StreamHandle stream, const Packing& p, T* to) {
  pack(stream, p, to, {packed_stride(p.cols), packed_stride(p.cols)});
}

}  // namespace espalier::cuda::ESPALIER_TARGET

// The ops that gradients of whole weights need besides products: dy transposed, sums over columns, and rows that are added to the
// embedding's gradient.
//
// Transpose: a block takes a square of 32 x 32 through shared memory, so that both matrices are accessed along their rows.
// ColumnDot: a thread has one column of a part of the rows; then the parts, and the columns of one place, are added in their order.
// EmbedGradient: a thread has one column and takes the rows one after the other, so no two threads write to one place.
#include <algorithm>

#include "cuda_backend.h"
#include "tensors/tensor_values.h"

namespace espalier::cuda::ESPALIER_TARGET {

namespace {

constexpr int kSquare = 32, kSquareRows = 8, kColumns = 128;
constexpr int64_t kLeastRows = 256, kMostParts = 16;  // kLeastRows is for one part, kMostParts for all rows

template <class T>
struct TransposeArguments {
  Matrix<T> to, from;
  int64_t from_rows, from_cols, to_cols;
};

template <class A, class B>
struct ColumnDotArguments {
  Matrix<A> a;
  Matrix<B> b;
  const float* row_scale;
  int64_t rows, cols;
  float* parts;  // [parts, cols]
};

struct ColumnTotal {
  const float* parts;
  const float* column_scale;
  int64_t count, cols, fold;
  float* out;
};

struct EmbedGradientArguments {
  Matrix<float> table, dx;
  const int32_t* ids;
  const float* scale;
  int64_t rows, cols;
};

unsigned blocks_of(int64_t count, int64_t each) { return static_cast<unsigned>((count + each - 1) / each); }

}  // namespace

template <class T>
__global__ void __launch_bounds__(kSquare* kSquareRows) transpose_kernel(TransposeArguments<T> a) {
  SIMT_SHARED(T, square, kSquare * (kSquare + 1));
  const int lane = static_cast<int>(threadIdx.x) % kSquare, line = static_cast<int>(threadIdx.x) / kSquare;
  const int64_t n0 = int64_t{blockIdx.x} * kSquare, j0 = int64_t{blockIdx.y} * kSquare;
  for (int i = line; i < kSquare; i += kSquareRows) {
    const bool inside = n0 + i < a.from_rows && j0 + lane < a.from_cols;
    shared_store(square + i * (kSquare + 1) + lane, inside ? load(a.from.row(n0 + i) + j0 + lane) : T{});
  }
  __syncthreads();
  for (int i = line; i < kSquare; i += kSquareRows)
    if (j0 + i < a.from_cols && n0 + lane < a.to_cols) store(a.to.row(j0 + i) + n0 + lane, shared_load(square + lane * (kSquare + 1) + i));
}

template <class A, class B>
__global__ void __launch_bounds__(kColumns) column_dot_kernel(ColumnDotArguments<A, B> a) {
  const int64_t j = int64_t{blockIdx.x} * kColumns + threadIdx.x, parts = gridDim.y;
  if (j >= a.cols) return;
  const int64_t first = a.rows * blockIdx.y / parts, last = a.rows * (blockIdx.y + 1) / parts;
  float sum = 0;
  for (int64_t n = first; n < last; n++) {
    const float scale = a.row_scale ? load(a.row_scale + n) : 1.0f;
    const float b = a.b.data ? to_float(load(a.b.row(n) + j)) * scale : scale;
    sum = fmaf(to_float(load(a.a.row(n) + j)), b, sum);
  }
  store(a.parts + blockIdx.y * a.cols + j, sum);
}

__global__ void __launch_bounds__(kColumns) column_total_kernel(ColumnTotal t) {
  const int64_t j = int64_t{blockIdx.x} * kColumns + threadIdx.x;
  if (j >= t.fold) return;
  float total = 0;
  for (int64_t column = j; column < t.cols; column += t.fold) {
    float sum = 0;
    for (int64_t p = 0; p < t.count; p++) sum += load(t.parts + p * t.cols + column);
    total += t.column_scale ? sum * load(t.column_scale + column) : sum;
  }
  store(t.out + j, load(t.out + j) + total);
}

__global__ void __launch_bounds__(kColumns) embed_gradient_kernel(EmbedGradientArguments a) {
  const int64_t j = int64_t{blockIdx.x} * kColumns + threadIdx.x;
  if (j >= a.cols) return;
  const float scale = a.scale ? load(a.scale + j) : 1.0f;
  for (int64_t n = 0; n < a.rows; n++) {
    float* place = a.table.row(load(a.ids + n)) + j;
    store(place, load(place) + scale * load(a.dx.row(n) + j));
  }
}

void CudaBackend::launch(const Transpose& op) {
  if (op.to.rows == 0) return;
  with_compute_type(op.from.dtype, [&](auto t) {
    using T = decltype(t);
    launch_kernel("transpose", transpose_kernel<T>, dim3(blocks_of(op.to.cols, kSquare), blocks_of(op.to.rows, kSquare)),
                  dim3(kSquare * kSquareRows), 0, stream_.handle(),
                  TransposeArguments<T>{any_matrix<T>(op.to, op.to.cols), any_matrix<T>(op.from, op.from.cols), op.from.rows, op.from.cols,
                                        op.to.cols});
  });
}

void CudaBackend::launch(const ColumnDot& op) {
  const int64_t cols = op.a.cols, parts = std::clamp<int64_t>(op.a.rows / kLeastRows, 1, kMostParts);
  auto* sums = scratch<float>(kParts, parts * cols);
  with_compute_type(op.a.dtype, [&](auto a) {
    with_compute_type(op.b ? op.b.dtype : DType::kF32, [&](auto b) {
      using A = decltype(a);
      using B = decltype(b);
      launch_kernel("column_dot", column_dot_kernel<A, B>, dim3(blocks_of(cols, kColumns), static_cast<unsigned>(parts)), dim3(kColumns), 0,
                    stream_.handle(),
                    ColumnDotArguments<A, B>{any_matrix<A>(op.a, cols), any_matrix<B>(op.b, cols), list(op.row_scale, op.a.rows), op.a.rows,
                                             cols, sums});
    });
  });
  launch_kernel("column_total", column_total_kernel, dim3(blocks_of(op.fold, kColumns)), dim3(kColumns), 0, stream_.handle(),
                ColumnTotal{sums, list(op.column_scale, cols), parts, cols, op.fold, list(op.out, op.fold)});
}

void CudaBackend::launch(const EmbedGradient& op) {
  if (op.dx.rows == 0) return;
  const int64_t cols = op.dx.cols;
  launch_kernel("embed_gradient", embed_gradient_kernel, dim3(blocks_of(cols, kColumns)), dim3(kColumns), 0, stream_.handle(),
                EmbedGradientArguments{any_matrix<float>(op.table, cols), any_matrix<float>(op.dx, cols), list(op.ids, op.dx.rows),
                                       list(op.scale, cols), op.dx.rows, cols});
}

}  // namespace espalier::cuda::ESPALIER_TARGET

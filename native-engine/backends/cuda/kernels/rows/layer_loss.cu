// Computes the difference of two residual streams [N, cols] f32 where the student's hidden unit is open, the sum of its squares, and the
// column sums of the difference times the student. A relative loss weighs each row by the teacher's squares in it, which a kernel of one
// block a row adds up first.
//
// A thread has four columns and goes down the rows of its block's part. It reads its lists once and keeps its column sums in registers. The
// squares are added in double, first by thread, then by block, then over the blocks. The teacher's columns are gathered where it has other
// units open.
#include "cuda_backend.h"
#include "reduce.h"
#include "rows/row_parts.h"
#include "tensors/tensor_values.h"

namespace espalier::cuda::ESPALIER_TARGET {

template <class T>
struct LayerLossArguments {
  Matrix<float> student, teacher;
  const int32_t* teacher_cols;  // nullptr where the teacher has the same columns
  const float* student_scale;
  const float *student_factor, *teacher_factor;  // nullptr stands for ones
  const float* weights;                          // [rows]; nullptr stands for ones
  Matrix<T> diff;
  double* sums;  // [row parts, column blocks]
  float* parts;  // [row parts, cols]
  int64_t rows, cols;
};

struct RowWeightArguments {
  Matrix<float> teacher;
  const int32_t* teacher_cols;
  const float *student_scale, *teacher_factor;
  float* weights;  // [rows]
  int64_t cols;
};

// Writes 1 over the sum of the teacher's squares in the columns that the student has open, or 0 where that sum is 0.
__global__ void __launch_bounds__(256) row_weight_kernel(RowWeightArguments a) {
  SIMT_SHARED(float, space, kMostWarps);
  const int64_t n = blockIdx.x;
  const float* t = a.teacher.row(n);
  float squares = 0;
  for (int64_t j = threadIdx.x; j < a.cols; j += blockDim.x) {
    const int64_t column = a.teacher_cols ? load(a.teacher_cols + j) : j;
    if (column < 0 || load(a.student_scale + j) == 0) continue;
    const float v = a.teacher_factor ? load(t + column) * load(a.teacher_factor + column) : load(t + column);
    squares += v * v;
  }
  squares = block_sum(squares, space);
  if (threadIdx.x == 0) store(a.weights + n, squares > 0 ? 1.0f / squares : 0.0f);
}

template <class T>
__global__ void __launch_bounds__(kColumnThreads) layer_loss_kernel(LayerLossArguments<T> a) {
  SIMT_SHARED(double, space, kMostWarps);
  const int64_t j = (int64_t{blockIdx.x} * kColumnThreads + threadIdx.x) * 4;
  double squares = 0;
  if (j < a.cols) {
    const Rows part = rows_of_part(a.rows, blockIdx.y, gridDim.y);
    const Four open = load4(a.student_scale + j);
    const auto column = [&](int64_t i) { return a.teacher_cols ? load(a.teacher_cols + j + i) : 0; };
    const int32_t c0 = column(0), c1 = column(1), c2 = column(2), c3 = column(3);
    const Four student_factor = a.student_factor ? load4(a.student_factor + j) : all4(1);
    const auto factor = [&](int32_t c) { return !a.teacher_factor ? 1.0f : c < 0 ? 0.0f : load(a.teacher_factor + c); };
    const Four teacher_factor = a.teacher_cols     ? Four{factor(c0), factor(c1), factor(c2), factor(c3)}
                                : a.teacher_factor ? load4(a.teacher_factor + j)
                                                   : all4(1);
    Four dots = all4(0);
    for (int64_t n = part.begin; n < part.end; n++) {
      const Four s = load4(a.student.row(n) + j) * student_factor;
      const float* t = a.teacher.row(n);
      const auto value = [&](int32_t c) { return c < 0 ? 0.0f : load(t + c); };
      const Four other = a.teacher_cols ? Four{value(c0), value(c1), value(c2), value(c3)} : load4(t + j);
      const Four difference = each(s, other * teacher_factor, [](float x, float y) { return x - y; });
      const Four d = each(open, difference, [](float o, float v) { return o != 0 ? v : 0.0f; });
      const Four weighted = a.weights ? d * all4(load(a.weights + n)) : d;
      store4(a.diff.row(n) + j, weighted);
      dots = fma4(weighted, s, dots);
      squares += sum4(d * weighted);
    }
    store4(a.parts + blockIdx.y * a.cols + j, dots);
  }
  squares = block_sum(squares, space);
  if (threadIdx.x == 0) store(a.sums + blockIdx.y * gridDim.x + blockIdx.x, squares);
}

void CudaBackend::launch(const LayerLoss& op) {
  const int64_t rows = op.student.rows, cols = op.student.cols, count = row_parts(rows);
  launch(Clear{op.mask_dot, cols});
  const unsigned blocks = column_blocks(cols);
  auto* sums = scratch<double>(kSums, std::max<int64_t>(count * blocks, 1));
  if (rows > 0) {
    auto* parts = scratch<float>(kParts, count * cols);
    float* weights = op.relative ? scratch<float>(kRowWeights, rows) : nullptr;
    if (op.relative)
      launch_kernel("row_weight", row_weight_kernel, dim3(static_cast<unsigned>(rows)), dim3(threads_for_row(cols)), 0, stream_.handle(),
                    RowWeightArguments{matrix<float>(op.teacher), list(op.teacher_cols, cols), list(op.student_scale, cols),
                                       list(op.teacher_factor, op.teacher.cols), weights, cols});
    with_compute_type(op.diff.dtype, [&](auto t) {
      using T = decltype(t);
      const LayerLossArguments<T> a{matrix<float>(op.student),
                                    matrix<float>(op.teacher),
                                    list(op.teacher_cols, cols),
                                    list(op.student_scale, cols),
                                    list(op.student_factor, cols),
                                    list(op.teacher_factor, op.teacher.cols),
                                    weights,
                                    matrix<T>(op.diff),
                                    sums,
                                    parts,
                                    rows,
                                    cols};
      launch_kernel("layer_loss", layer_loss_kernel<T>, dim3(blocks, static_cast<unsigned>(count)), dim3(kColumnThreads), 0,
                    stream_.handle(), a);
    });
    add_parts(parts, count, cols, op.mask_dot);
  }
  add_sums(sums, count * blocks, op.sum);
}

}  // namespace espalier::cuda::ESPALIER_TARGET

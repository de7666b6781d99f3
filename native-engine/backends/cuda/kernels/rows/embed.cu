// Copies rows of the embedding table by token and columns by list: out [N, cols] f32, from a table [V, D] of any stored dtype at any
// address.
//
// A block has one token, and a thread one value, since a list of columns leaves no neighbours. The cost is that of reading the table's row
// once and writing out, 4 bytes for each value.
#include "cuda_backend.h"
#include "reduce.h"
#include "tensors/stored_matrix.h"
#include "tensors/tensor_values.h"

namespace espalier::cuda::ESPALIER_TARGET {

struct EmbedArguments {
  Matrix<float> out;
  Stored table;
  const int32_t *ids, *cols;
  const float* scale;
  int64_t width;
};

__global__ void __launch_bounds__(256) embed_kernel(EmbedArguments a) {
  const int64_t n = blockIdx.x, row = load(a.ids + n);
  for (int64_t j = threadIdx.x; j < a.width; j += blockDim.x) {
    const int64_t col = a.cols ? load(a.cols + j) : j < a.table.cols ? j : -1;
    const float v = col < 0 ? 0.0f : a.table.at(row, col);
    store(a.out.row(n) + j, a.scale ? v * load(a.scale + j) : v);
  }
}

void CudaBackend::launch(const Embed& op) {
  if (op.out.rows == 0) return;
  const int64_t width = op.out.cols;
  const EmbedArguments a{
      any_matrix<float>(op.out, width), stored(op.table), list(op.ids, op.out.rows), list(op.cols, width), list(op.scale, width), width};
  launch_kernel("embed", embed_kernel, dim3(static_cast<unsigned>(op.out.rows)), dim3(threads_for_row(4 * width)), 0, stream_.handle(), a);
}

}  // namespace espalier::cuda::ESPALIER_TARGET

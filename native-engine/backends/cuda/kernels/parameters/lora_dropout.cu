// out [rows, cols] (+)= x, where each value is dropped or scaled. A block has one row. A thread makes the random words of its own column,
// so columns may come in any order. The kernel is limited by these words: 10 rounds of two products for each value.
#include "cuda_backend.h"
#include "espalier/base/random_words.h"
#include "reduce.h"
#include "tensors/tensor_values.h"

namespace espalier::cuda::ESPALIER_TARGET {

template <class X, class Out>
struct LoraDropoutArguments {
  Matrix<X> x;
  Matrix<Out> out;
  const int32_t* cols;
  int64_t width, in_full, step, first_row;
  uint64_t seed;
  uint32_t stream, threshold;
  float scale;
  bool accumulate;
};

template <class X, class Out>
__global__ void __launch_bounds__(256) lora_dropout_kernel(LoraDropoutArguments<X, Out> a) {
  const int64_t n = blockIdx.x, counters = (a.first_row + n) * ((a.in_full + 3) / 4);
  for (int64_t j = threadIdx.x; j < a.width; j += blockDim.x) {
    const int64_t at = a.cols ? load(a.cols + j) : j < a.in_full ? j : -1;
    float dropped = 0;
    if (at >= 0) {
      const RandomWords words = philox(random_counter(a.step, a.stream, counters + at / 4), a.seed);
      const uint32_t first = at % 2 == 0 ? words.w[0] : words.w[1], second = at % 2 == 0 ? words.w[2] : words.w[3];
      if ((at % 4 < 2 ? first : second) >= a.threshold) dropped = load1(a.x.row(n) + j) * a.scale;
    }
    store1(a.out.row(n) + j, a.accumulate ? load1(a.out.row(n) + j) + dropped : dropped);
  }
}

void CudaBackend::launch(const LoraDropout& op) {
  if (op.x.rows == 0) return;
  with_compute_type(op.x.dtype, [&](auto x) {
    with_compute_type(op.out.dtype, [&](auto out) {
      using X = decltype(x);
      using Out = decltype(out);
      const LoraDropoutArguments<X, Out> a{
          matrix<X>(op.x), matrix<Out>(op.out), list(op.cols, op.x.cols), op.x.cols,  op.in_full,   op.step, op.first_row,
          op.seed,         op.stream,           op.threshold(),           op.scale(), op.accumulate};
      launch_kernel("lora_dropout", lora_dropout_kernel<X, Out>, dim3(static_cast<unsigned>(op.x.rows)), dim3(threads_for_row(op.x.cols)),
                    0, stream_.handle(), a);
    });
  });
}

}  // namespace espalier::cuda::ESPALIER_TARGET

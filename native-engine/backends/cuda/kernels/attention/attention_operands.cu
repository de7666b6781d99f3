// Makes the operands of attention, [N, query_width + 2 kv_width] in compute dtype, from the three products of queries, keys and values. It
// adds the bias, rotates queries and keys by their position's angles, scales queries so that scores are base-2 logarithms, and rounds once.
//
// The products of queries and keys lie side by side as f32, so one pass over them remains. It is limited by its bytes: 6 for each value
// where compute is bf16. Values are neither rotated nor scaled, so without a bias their product writes them to their place, in the same
// bits. A block has a row; a thread rotates four values of a head's first half with the four values of the second half that pair with them.
#include "cuda_backend.h"
#include "exp2.h"
#include "reduce.h"
#include "tensors/tensor_values.h"

namespace espalier::cuda::ESPALIER_TARGET {

template <class T>
struct AttentionOperandsArguments {
  Matrix<float> sums;
  Matrix<T> operands;
  const float *bias, *rope_cos, *rope_sin;
  int64_t tokens, query_width, kv_width;
  int heads, kv_heads, half;
  int end;  // how many of the heads of queries, keys and values are made here
  float query_scale;
};

template <class T>
__global__ void __launch_bounds__(256) attention_operands_kernel(AttentionOperandsArguments<T> a) {
  const int64_t n = blockIdx.x, angles = n % a.tokens * a.half;
  const int fours = a.half / 4;
  for (int i = static_cast<int>(threadIdx.x); i < a.end * fours; i += static_cast<int>(blockDim.x)) {
    const int head = i / fours, j = i % fours * 4, kv = head - a.heads;
    const int64_t column = (kv < 0            ? int64_t{head} * 2 * a.half
                            : kv < a.kv_heads ? a.query_width + int64_t{kv} * 2 * a.half
                                              : a.query_width + a.kv_width + int64_t{kv - a.kv_heads} * 2 * a.half) +
                           j;
    Four low = load4(a.sums.row(n) + column), high = load4(a.sums.row(n) + column + a.half);
    if (a.bias) {
      low = low + load4(a.bias + column);
      high = high + load4(a.bias + column + a.half);
    }
    if (kv < a.kv_heads) {
      const Four scale = all4(kv < 0 ? a.query_scale : 1.0f), x = low * scale, y = high * scale;
      if (a.rope_cos) {
        const Four c = load4(a.rope_cos + angles + j), s = load4(a.rope_sin + angles + j);
        low = fma4(x, c, y * s * all4(-1));
        high = fma4(y, c, x * s);
      } else {
        low = x;
        high = y;
      }
    }
    store4(a.operands.row(n) + column, low);
    store4(a.operands.row(n) + column + a.half, high);
  }
}

namespace {

// Returns the product of the values' whole heads with their place among the operands. The columns behind them stay as they are.
Product values_into_operands(const AttentionOperands& op) {
  const AttentionShape& s = op.shape;
  Product product = op.products[2];
  const int64_t used = s.kv_heads * s.head_dim;
  product.c = op.operands.columns(s.query_width + s.kv_width, used);
  for (int t = 0; t < product.count; t++) product.terms[t].b.rows = used;
  return product;
}

}  // namespace

// Computes queries, keys and values. Values that need no bias are written to their place among the operands. The others are written as
// sums, from which a last kernel makes operands.
void CudaBackend::launch(const AttentionOperands& op) {
  const AttentionShape& s = op.shape;
  const int64_t rows = op.operands.rows, width = s.width(), angles = s.tokens * s.head_dim / 2;
  if (s.head_dim % 8 != 0)
    throw Error(ErrorCode::kNotSupported, "head_dim", "on CUDA a head's size is a multiple of 8, not " + std::to_string(s.head_dim));
  const Tensor sums = op.space.reshaped(rows, width);
  const float *cos = list(s.rope_cos, angles), *sin = list(s.rope_sin, angles);
  const bool values_in_place = !s.bias;
  if (values_in_place) launch(values_into_operands(op));
  for (int part = 0; part < (values_in_place ? 2 : 3); part++) {
    Product product = op.products[part];
    product.c = sums.columns(part == 0 ? 0 : s.query_width + (part - 1) * s.kv_width, part == 0 ? s.query_width : s.kv_width);
    launch(product);
  }
  if (op.norms) norm_heads(op, sums);
  const int64_t end = s.heads + (values_in_place ? 1 : 2) * s.kv_heads;
  with_compute_type(op.operands.dtype, [&](auto t) {
    using T = decltype(t);
    const AttentionOperandsArguments<T> a{matrix<float>(sums),
                                          matrix<T>(op.operands),
                                          list(s.bias, width),
                                          cos,
                                          sin,
                                          s.tokens,
                                          s.query_width,
                                          s.kv_width,
                                          static_cast<int>(s.heads),
                                          static_cast<int>(s.kv_heads),
                                          static_cast<int>(s.head_dim / 2),
                                          static_cast<int>(end),
                                          score_scale(s, kLog2e)};
    launch_kernel("attention_operands", attention_operands_kernel<T>, dim3(static_cast<unsigned>(rows)), dim3(threads_for_row(width / 2)),
                  0, stream_.handle(), a);
  });
}

}  // namespace espalier::cuda::ESPALIER_TARGET

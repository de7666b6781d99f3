// RMS norms of query and key heads, which come before the rotary embedding, and their gradients.
#pragma once
#include "rows/rmsnorm.h"

namespace espalier::cpu::ESPALIER_ISA {

// Calls f(j, lanes) for the whole vectors of [0, dim), and then for the rest.
template <class F>
static inline void for_vectors(int64_t dim, F&& f) {
  int64_t j = 0;
  for (; j + W <= dim; j += W) f(j, int64_t{W});
  if (j < dim) f(j, dim - j);
}
template <class T>
static inline vf load_lanes(const T* p, int64_t lanes) {
  return lanes == W ? load(p) : load_part(p, lanes);
}
template <class T>
static inline void store_lanes(T* p, vf v, int64_t lanes) {
  lanes == W ? store(p, v) : store_part(p, v, lanes);
}

// Norms one head in place. `normed` gets the head before its weights, unless it is nullptr. Returns rstd.
template <class T>
static inline float norm_head(float* x, const float* weight, int64_t dim, float eps, T* normed) {
  vf squares = {};
  for_vectors(dim, [&](int64_t j, int64_t lanes) {
    const vf v = load_lanes(x + j, lanes);
    squares += v * v;
  });
  const float rstd = inverse_sqrt(sum_lanes(squares) / static_cast<float>(dim) + eps);
  for_vectors(dim, [&](int64_t j, int64_t lanes) {
    const vf v = load_lanes(x + j, lanes) * rstd;
    if (normed) store_lanes(normed + j, v, lanes);
    store_lanes(x + j, v * load_lanes(weight + j, lanes), lanes);
  });
  return rstd;
}

// Norms rows [begin, end) of the query or key heads that begin at column `column` of the operands. The first row of `sums` is row `begin`.
template <class T>
static void norm_heads(const AttentionOperands& op, const Tensor& sums, int64_t column, int64_t begin, int64_t end) {
  const AttentionShape& s = op.shape;
  const bool key = column >= s.query_width;
  const float* weight = host(key ? op.norms.key : op.norms.query);
  const int64_t dim = key ? op.norms.key_size(s) : op.norms.query_size(s), queries = op.norms.query_norms(s);
  const int64_t first_head = key ? queries + (column - s.query_width) / dim : column / dim, heads = queries + op.norms.key_norms(s);
  for (int64_t n = begin; n < end; n++) {
    float* x = row_ptr<float>(sums, n - begin);
    for (int64_t h = 0; h < sums.cols / dim; h++) {
      T* normed = op.normed ? row_ptr<T>(op.normed, n) + column + h * dim : nullptr;
      const float rstd = norm_head(x + h * dim, weight, dim, op.norms.eps, normed);
      if (op.normed) host(op.rstd)[n * heads + first_head + h] = rstd;
    }
  }
}

// With xhat = x * rstd: dx = rstd * (dxhat - xhat * mean(dxhat * xhat)), where dxhat = dy * weight.
static void head_norm_backward(const HeadNormBackward& op, int64_t begin, int64_t end) {
  with_compute_type(op.dqkv.dtype, [&](auto type) {
    using T = decltype(type);
    const AttentionShape& s = op.shape;
    const int64_t queries = op.norms.query_norms(s), heads = queries + op.norms.key_norms(s);
    for (int64_t n = begin; n < end; n++)
      for (int64_t h = 0; h < heads; h++) {
        const bool key = h >= queries;
        const int64_t dim = key ? op.norms.key_size(s) : op.norms.query_size(s);
        const int64_t column = key ? s.query_width + (h - queries) * dim : h * dim;
        const float *weight = host(key ? op.norms.key : op.norms.query), rstd = host(op.rstd)[n * heads + h];
        const T* xhat = row_ptr<T>(op.normed, n) + column;
        T* d = row_ptr<T>(op.dqkv, n) + column;
        vf dots = {};
        for_vectors(dim, [&](int64_t j, int64_t lanes) {
          dots += load_lanes(d + j, lanes) * load_lanes(weight + j, lanes) * load_lanes(xhat + j, lanes);
        });
        const float mean = sum_lanes(dots) / static_cast<float>(dim);
        for_vectors(dim, [&](int64_t j, int64_t lanes) {
          const vf dxhat = load_lanes(d + j, lanes) * load_lanes(weight + j, lanes);
          store_lanes(d + j, (dxhat - load_lanes(xhat + j, lanes) * mean) * rstd, lanes);
        });
      }
  });
}

}  // namespace espalier::cpu::ESPALIER_ISA

// LoRA's narrow products: each multiplies activations by a small factor, which is rounded to the compute dtype as stored weights are.
//
// The factors of projections with the same x are packed below each other, so one product reads x once. Each value is one sum along the
// depth either way, so its bits are the same.
#include <algorithm>

#include "cuda_backend.h"
#include "products/pack.h"
#include "products/product.h"

namespace espalier::cuda::ESPALIER_TARGET {

namespace {

bool same(const Tensor& a, const Tensor& b) {
  return a.data.address() == b.data.address() && a.rows == b.rows && a.cols == b.cols && a.stride == b.stride && a.dtype == b.dtype;
}

}  // namespace

template <class T>
void CudaBackend::multiply_of_one_x(const LoraNarrow& op) {
  const int64_t width = narrow_width(op.rank), stride = packed_stride(op.terms[0].b.cols);
  const Packing x = packing_of(op.terms[0].a);
  T* const factors = scratch<T>(kFactors, op.count * width * stride);
  for (int i = 0; i < op.count; i++) pack(stream_.handle(), packing_of(op.terms[i].b, true, 0, width), factors + i * width * stride);
  ProductArguments<T, T> g{};
  g.parts[0] = {reinterpret_cast<const T*>(x.from), static_cast<int32_t>(x.stride), factors, static_cast<int32_t>(stride),
                static_cast<int32_t>(x.cols)};
  g.count = 1;
  g.c = list(op.out.data.as<T>(), (op.out.rows - 1) * op.out.stride + op.out.cols);
  g.c_stride = static_cast<int32_t>(op.out.stride);
  g.rows = static_cast<int32_t>(op.out.rows);
  g.cols = static_cast<int32_t>(op.count * width);
  multiply_dense(stream_.handle(), g, true);
}

void CudaBackend::launch(const LoraNarrow& op) {
  const Tensor& x = op.terms[0].a;
  const auto terms = op.terms.begin();
  const bool is_one_x = std::all_of(terms, terms + op.count, [&](const ProductTerm& term) { return same(term.a, x); });
  if (op.transposed && op.count > 1 && is_one_x && op.out.rows > 0) {
    bool done = false;
    with_compute_type(x.dtype, [&](auto t) {
      using T = decltype(t);
      if (is_dense<T>(x)) multiply_of_one_x<T>(op), done = true;
    });
    if (done) return;
  }
  const int64_t width = narrow_width(op.rank);
  for (int i = 0; i < op.count; i++) {
    Product product;
    product.c = op.out.columns(i * width, width);
    product.transposed = op.transposed;
    product.add(op.terms[i].a, op.terms[i].b);
    launch(product);
  }
}

}  // namespace espalier::cuda::ESPALIER_TARGET

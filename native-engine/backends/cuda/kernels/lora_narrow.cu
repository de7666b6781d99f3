// LoRA's narrow products: each multiplies activations by a small factor, which is rounded to the compute dtype as stored weights are.
#include "cuda_backend.h"

namespace espalier::cuda::ESPALIER_TARGET {

void CudaBackend::launch(const LoraNarrow& op) {
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

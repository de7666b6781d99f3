// Products of bf16 factors by cuBLASLt, where a machine has it and it has an algorithm that our rule accepts (cublaslt.h).
//
// The library multiplies one pair of factors, in f32 or bf16, and can add the result to f32. Any other product takes sums in f32 on the
// way: those of several terms with a rounded result, and those with scales of columns. A last pass finishes them. It takes 8 to 12 bytes
// for each value, beside some thousand operations in the product. Slices of columns keep the memory for the sums small.
#include <algorithm>

#include "cuda_backend.h"
#include "espalier/model/model_config.h"
#include "products/product.h"

namespace espalier::cuda::ESPALIER_TARGET {

namespace {

// A product below these sizes is so short that the library gains nothing.
constexpr int32_t kLeastRows = 256, kLeastCols = 128;

template <class T>
bool lies_well(const T* data, int64_t stride) {
  return reinterpret_cast<uint64_t>(data) % 16 == 0 && stride * static_cast<int64_t>(sizeof(T)) % 16 == 0;
}

template <class C>
LibraryProduct shape_of(const ProductArguments<bf16, C>& g, const ProductPart<bf16>& part, bool transposed, bool f32, int64_t cols,
                        int64_t c_stride) {
  return {g.rows, cols, part.depth, part.a_stride, part.b_stride, c_stride, transposed, f32};
}

}  // namespace

// c [rows, cols] (+)= sums * column_scale; a thread computes four columns of a row.
template <class C>
__global__ void __launch_bounds__(256) finish_product_kernel(ProductArguments<bf16, C> g, const float* sums, int64_t stride) {
  const int64_t row = blockIdx.x;
  for (int32_t col = static_cast<int32_t>(threadIdx.x) * 4; col < g.cols; col += static_cast<int32_t>(blockDim.x) * 4) {
    SIMT_UNROLL
    for (int32_t j = 0; j < 4; j++)
      if (col + j < g.cols) store_product(g, g.c + row * g.c_stride + col + j, col + j, load(sums + row * stride + col + j));
  }
}

template <class C>
bool CudaBackend::multiply_by_library(const ProductArguments<bf16, C>& g, bool transposed) {
  if (!library_ || g.rows < library_limits().rows || g.cols < library_limits().cols || !lies_well(g.c, g.c_stride)) return false;
  for (int i = 0; i < g.count; i++)
    if (!lies_well(g.parts[i].a, g.parts[i].a_stride) || !lies_well(g.parts[i].b, g.parts[i].b_stride)) return false;
  constexpr bool f32 = sizeof(C) == 4;
  const bool direct = !g.column_scale && (f32 || g.count == 1);
  const int64_t fitting = std::max<int64_t>(library_limits().sums / g.rows / 128, 1) * 128;
  const int64_t step = direct ? g.cols : std::min<int64_t>(fitting, g.cols), stride = (step + 3) / 4 * 4;
  const auto shape = [&](int part, int64_t cols) {
    return shape_of(g, g.parts[part], transposed, direct ? f32 : true, cols, direct ? g.c_stride : stride);
  };
  for (int64_t from = 0; from < g.cols; from += step)
    for (int i = 0; i < g.count; i++)
      if (!library_->can(shape(i, std::min(step, g.cols - from)))) return false;
  auto* workspace = scratch<std::byte>(kWorkspace, LibraryProducts::kWorkspaceBytes);
  float* sums = direct ? nullptr : scratch<float>(kLibrarySums, g.rows * stride);
  for (int64_t from = 0; from < g.cols; from += step) {
    const int64_t cols = std::min(step, g.cols - from);
    for (int i = 0; i < g.count; i++) {
      const bf16* b = g.parts[i].b + from * (transposed ? g.parts[i].b_stride : 1);
      void* to = direct ? static_cast<void*>(g.c) : static_cast<void*>(sums);
      library_->multiply(stream_.handle(), shape(i, cols), g.parts[i].a, b, to, i > 0 || (direct && g.accumulate), workspace);
    }
    if (direct) continue;
    ProductArguments<bf16, C> slice = g;
    slice.c += from;
    slice.cols = static_cast<int32_t>(cols);
    if (slice.column_scale) slice.column_scale += from;
    launch_kernel("finish_product", finish_product_kernel<C>, dim3(static_cast<unsigned>(g.rows)), dim3(256), 0, stream_.handle(), slice,
                  sums, stride);
  }
  return true;
}

template bool CudaBackend::multiply_by_library(const ProductArguments<bf16, float>& g, bool transposed);
template bool CudaBackend::multiply_by_library(const ProductArguments<bf16, bf16>& g, bool transposed);

LibraryLimits& library_limits() {
  static LibraryLimits limits{kLeastRows, kLeastCols};
  return limits;
}

// Returns the bytes of the workspace and of the sums of the widest product.
uint64_t CudaBackend::library_scratch_bytes(const ModelConfig& config, const ScratchShape& shape) {
  if (!cublaslt()->usable() || shape.dtype != DType::kBF16 || shape.batch * shape.tokens < library_limits().rows) return 0;
  const int64_t rows = shape.batch * shape.tokens, widest = padded_width(std::max(config.hidden_size, config.intermediate_size));
  const int64_t fitting = std::max<int64_t>(library_limits().sums / rows / 128, 1) * 128;
  return LibraryProducts::kWorkspaceBytes + static_cast<uint64_t>(rows * std::min(fitting, widest)) * sizeof(float);
}

}  // namespace espalier::cuda::ESPALIER_TARGET

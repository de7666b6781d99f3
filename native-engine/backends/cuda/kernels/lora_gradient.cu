// Gradients of LoRA's factors: sums over the rows of a narrow matrix times a wide one, in f32.
//
// A block has 128 columns of the wide matrix, 16 of the narrow one and a part of the rows; a thread keeps the 16 sums of one column. The
// narrow values of some rows lie in shared memory, where all threads read the same value at a time. At the end the parts are added in their
// order. Only the number of rows decides how they are divided.
#include <algorithm>

#include "cuda_backend.h"
#include "espalier/model_config.h"
#include "types.h"

namespace espalier::cuda::ESPALIER_TARGET {

namespace {

constexpr int kColumns = 128, kRanks = 16, kRowsAtATime = 32;
constexpr int64_t kLeastRows = 256, kMostParts = 16;  // kLeastRows is for one part, kMostParts for all rows

int64_t gradient_parts(int64_t rows) { return std::clamp<int64_t>(rows / kLeastRows, 1, kMostParts); }

template <class T>
struct FactorSums {
  const T *narrow, *wide;
  int64_t narrow_stride, wide_stride, rows;
  int32_t rank, cols;
  float* parts;  // [parts, rank, cols]
};

struct FactorGradient {
  const float* parts;
  int64_t count, rank, cols;
  float scale;
  const int32_t* list;              // nullptr stands for the identity
  float* to;                        // has the full shape of the factor
  int64_t rank_stride, col_stride;  // strides within `to`
};

}  // namespace

template <class T>
__global__ void __launch_bounds__(kColumns) factor_sums_kernel(FactorSums<T> s) {
  SIMT_SHARED(float, narrow, kRowsAtATime* kRanks);
  const int64_t parts = gridDim.z, first = s.rows * blockIdx.z / parts, last = s.rows * (blockIdx.z + 1) / parts;
  const int32_t col = static_cast<int32_t>(blockIdx.x) * kColumns + static_cast<int32_t>(threadIdx.x);
  const int32_t rank = static_cast<int32_t>(blockIdx.y) * kRanks;
  const bool inside = col < s.cols;
  float sums[kRanks] = {};
  for (int64_t row = first; row < last; row += kRowsAtATime) {
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < kRowsAtATime * kRanks; i += kColumns) {
      const int64_t n = row + i / kRanks;
      const int32_t k = rank + i % kRanks;
      shared_store(narrow + i, n < last && k < s.rank ? to_float(load(s.narrow + n * s.narrow_stride + k)) : 0.0f);
    }
    __syncthreads();
    const int64_t count = last - row < kRowsAtATime ? last - row : kRowsAtATime;
    for (int64_t n = 0; inside && n < count; n++) {
      const float v = to_float(load(s.wide + (row + n) * s.wide_stride + col));
      SIMT_UNROLL
      for (int k = 0; k < kRanks; k += 4) {
        const Four four = shared_load(reinterpret_cast<const Four*>(narrow + n * kRanks + k));
        sums[k] = fmaf(v, four.x, sums[k]);
        sums[k + 1] = fmaf(v, four.y, sums[k + 1]);
        sums[k + 2] = fmaf(v, four.z, sums[k + 2]);
        sums[k + 3] = fmaf(v, four.w, sums[k + 3]);
      }
    }
    if (inside) count_flops(2 * kRanks * count);
  }
  SIMT_UNROLL
  for (int k = 0; k < kRanks; k++)
    if (inside && rank + k < s.rank) store(s.parts + (int64_t{blockIdx.z} * s.rank + rank + k) * s.cols + col, sums[k]);
}

// Neighbouring threads take neighbouring columns, so all parts are read along their rows.
__global__ void __launch_bounds__(kColumns) factor_gradient_kernel(FactorGradient g) {
  const int64_t col = int64_t{blockIdx.x} * kColumns + threadIdx.x, k = blockIdx.y;
  if (col >= g.cols) return;
  const int64_t place = g.list ? load(g.list + col) : col;
  if (place < 0) return;
  float sum = 0;
  for (int64_t p = 0; p < g.count; p++) sum += load(g.parts + (p * g.rank + k) * g.cols + col);
  store(g.to + k * g.rank_stride + place * g.col_stride, g.scale * sum);
}

namespace {

template <class T>
const T* values(const Tensor& t) {
  return t.rows == 0 ? nullptr : list(t.data.as<const T>(), (t.rows - 1) * t.stride + t.cols);
}

}  // namespace

uint64_t CudaBackend::factor_parts_bytes(const ModelConfig& config, const ScratchShape& shape) {
  const int64_t heads = padded_width(config.head_count * config.head_dim),
                widest = std::max({config.hidden_size, config.intermediate_size, heads});
  return static_cast<uint64_t>(gradient_parts(shape.batch * shape.tokens) * shape.lora_rank * padded_width(widest)) * sizeof(float);
}

template <class T>
void CudaBackend::set_factor_gradient(const Tensor& narrow, const Tensor& wide, const FactorPlace& place) {
  if (wide.cols == 0) return;
  const int64_t parts = gradient_parts(wide.rows);
  const auto blocks = static_cast<unsigned>((wide.cols + kColumns - 1) / kColumns);
  auto* sums = scratch<float>(kParts, parts * place.rank * wide.cols);
  launch_kernel("factor_sums", factor_sums_kernel<T>,
                dim3(blocks, static_cast<unsigned>((place.rank + kRanks - 1) / kRanks), static_cast<unsigned>(parts)), dim3(kColumns), 0,
                stream_.handle(),
                FactorSums<T>{values<T>(narrow), values<T>(wide), narrow.stride, wide.stride, wide.rows, static_cast<int32_t>(place.rank),
                              static_cast<int32_t>(wide.cols), sums});
  launch_kernel("factor_gradient", factor_gradient_kernel, dim3(blocks, static_cast<unsigned>(place.rank)), dim3(kColumns), 0,
                stream_.handle(),
                FactorGradient{sums, parts, place.rank, wide.cols, place.scale, list(place.list, wide.cols),
                               list(place.to, place.rank * place.full), place.rank_stride, place.col_stride});
}

void CudaBackend::launch(const LoraGradient& op) {
  const int64_t width = narrow_width(op.rank);
  with_compute_type(op.x.dtype, [&](auto t) {
    using T = decltype(t);
    for (int i = 0; i < op.count; i++) {
      const LoraOutput& o = op.outputs[i];
      set_factor_gradient<T>(op.dy_narrow.columns(i * width, width), op.x,
                             {o.da, op.cols, op.rank, op.in_full, op.in_full, 1, op.lora_scale});
      set_factor_gradient<T>(op.x_narrow.columns(i * width, width), o.dy, {o.db, o.rows, op.rank, o.out_full, 1, op.rank, op.lora_scale});
    }
  });
}

}  // namespace espalier::cuda::ESPALIER_TARGET

// Gradients of LoRA's factors: sums over the rows of a narrow matrix times a wide one, in f32.
//
// The narrow matrices of projections that share a wide matrix lie side by side, so the wide matrix is read once. A block computes the sums
// of 128 columns of the wide matrix over one part of the rows. At the end the parts are added in their order. Only the number of rows
// decides how they are divided.
//
// In bf16 the tensor cores compute the sums. Four tiles of both matrices, 32 rows each, are in shared memory or being copied there
// (cp.async). A warp multiplies 32 columns of the wide matrix, as rows of its products, by all columns of the narrow one. In f32, and where
// rows do not begin at multiples of 16 bytes, a thread keeps the sums of one column of the wide matrix and 16 of the narrow one.
#include <algorithm>

#include "cuda_backend.h"
#include "espalier/model/model_config.h"
#include "products/tiles_bf16.h"

namespace espalier::cuda::ESPALIER_TARGET {

namespace {

constexpr int kColumns = 128, kRanks = 16, kRowsAtATime = 32, kStages = 4, kWarpColumns = 32;
constexpr int64_t kLeastRows = 256, kMostParts = 8;  // kLeastRows is for one part, kMostParts for all rows

int64_t gradient_parts(int64_t rows) { return std::clamp<int64_t>(rows / kLeastRows, 1, kMostParts); }

template <class T>
struct FactorSums {
  const T *narrow, *wide;
  int64_t narrow_stride, wide_stride, rows;
  int32_t ranks, cols;  // columns of the narrow and of the wide matrix
  float* parts;         // [parts, ranks, cols]
};

struct FactorGradient {
  const float* parts;  // begins at the first of the factor's ranks
  int64_t count, ranks, cols;
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
      shared_store(narrow + i, n < last && k < s.ranks ? to_float(load(s.narrow + n * s.narrow_stride + k)) : 0.0f);
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
    if (inside && rank + k < s.ranks) store(s.parts + (int64_t{blockIdx.z} * s.ranks + rank + k) * s.cols + col, sums[k]);
}

template <int ranks>
__global__ void __launch_bounds__(kColumns) factor_sums_bf16_kernel(FactorSums<bf16> s) {
  constexpr int kWideValues = kRowsAtATime * kColumns, kNarrowValues = kRowsAtATime * ranks;
  bf16* const wide_tiles = dynamic_shared<bf16>();
  bf16* const narrow_tiles = wide_tiles + kStages * kWideValues;
  const auto part = static_cast<int64_t>(blockIdx.z), parts = static_cast<int64_t>(gridDim.z);
  const auto first = static_cast<int32_t>(s.rows * part / parts), last = static_cast<int32_t>(s.rows * (part + 1) / parts);
  const int32_t block_col = static_cast<int32_t>(blockIdx.x) * kColumns, block_rank = static_cast<int32_t>(blockIdx.y) * ranks;
  const int warp_col = static_cast<int>(threadIdx.x) / 32 * kWarpColumns, lane = static_cast<int>(threadIdx.x) % 32;

  const int32_t tiles = (last - first + kRowsAtATime - 1) / kRowsAtATime;
  const auto copy = [&](int32_t tile) {
    if (tile >= tiles) return;
    const int32_t row = first + tile * kRowsAtATime, stage = tile % kStages;
    copy_tile<kRowsAtATime, kColumns, kColumns>(wide_tiles + stage * kWideValues, s.wide, static_cast<int32_t>(s.wide_stride), row, last,
                                                block_col, s.cols);
    copy_tile<kRowsAtATime, ranks, kColumns>(narrow_tiles + stage * kNarrowValues, s.narrow, static_cast<int32_t>(s.narrow_stride), row,
                                             last, block_rank, s.ranks);
  };
  SIMT_UNROLL
  for (int tile = 0; tile < kStages - 1; tile++) {
    copy(tile);
    copy_async_commit();
  }
  float sums[kWarpColumns / 16][ranks / 8][4] = {};
  for (int32_t t = 0; t < tiles; t++) {
    copy_async_wait<kStages - 2>();
    __syncthreads();  // all threads see tile t, and no thread reads tile t - 1, whose place is copied to
    copy(t + kStages - 1);
    copy_async_commit();
    const bf16 *wide = wide_tiles + t % kStages * kWideValues, *narrow = narrow_tiles + t % kStages * kNarrowValues;
    SIMT_UNROLL
    for (int row = 0; row < kRowsAtATime; row += 16) {
      uint32_t left[kWarpColumns / 16][4];
      SIMT_UNROLL
      for (int i = 0; i < kWarpColumns / 16; i++) load_left<kColumns>(left[i], wide, row, warp_col + i * 16);
      SIMT_UNROLL
      for (int j = 0; j < ranks / 16; j++) {
        uint32_t pairs[4];
        load_right<ranks>(pairs, narrow, row, j * 16);
        const uint32_t lower[2] = {pairs[0], pairs[1]}, upper[2] = {pairs[2], pairs[3]};
        SIMT_UNROLL
        for (int i = 0; i < kWarpColumns / 16; i++) {
          multiply_bf16(sums[i][2 * j], left[i], lower);
          multiply_bf16(sums[i][2 * j + 1], left[i], upper);
        }
      }
    }
  }

  SIMT_UNROLL
  for (int j = 0; j < ranks / 8; j++) {
    SIMT_UNROLL
    for (int i = 0; i < kWarpColumns / 16; i++) {
      SIMT_UNROLL
      for (int c = 0; c < 4; c++) {
        const int32_t rank = block_rank + j * 8 + lane % 4 * 2 + c % 2, col = block_col + warp_col + i * 16 + lane / 4 + c / 2 * 8;
        if (rank < s.ranks && col < s.cols) store(s.parts + (part * s.ranks + rank) * s.cols + col, sums[i][j][c]);
      }
    }
  }
}

// Neighbouring threads take neighbouring columns, so all parts are read along their rows.
__global__ void __launch_bounds__(kColumns) factor_gradient_kernel(FactorGradient g) {
  const int64_t col = int64_t{blockIdx.x} * kColumns + threadIdx.x, k = blockIdx.y;
  if (col >= g.cols) return;
  const int64_t place = g.list ? load(g.list + col) : col;
  if (place < 0) return;
  float sum = 0;
  for (int64_t p = 0; p < g.count; p++) sum += load(g.parts + (p * g.ranks + k) * g.cols + col);
  store(g.to + k * g.rank_stride + place * g.col_stride, g.scale * sum);
}

namespace {

template <class T>
const T* values(const Tensor& t) {
  return t.rows == 0 ? nullptr : list(t.data.as<const T>(), (t.rows - 1) * t.stride + t.cols);
}

// Returns true where the kernel of the tensor cores can copy the matrix in pieces of 16 bytes.
bool in_pieces(const Tensor& t) { return t.data.address() % 16 == 0 && t.stride % kPiece == 0; }

template <int ranks>
void sum_by_tensor_cores(StreamHandle stream, const FactorSums<bf16>& s, unsigned blocks, unsigned parts) {
  constexpr uint32_t kSharedBytes = kStages * kRowsAtATime * (kColumns + ranks) * 2;
  static_assert(kSharedBytes <= kSharedEverywhere);
  launch_kernel("factor_sums_bf16", factor_sums_bf16_kernel<ranks>,
                dim3(blocks, static_cast<unsigned>((s.ranks + ranks - 1) / ranks), parts), dim3(kColumns), kSharedBytes, stream, s);
}

}  // namespace

// The largest sums are those of three projections with one x, or of one projection.
uint64_t CudaBackend::factor_parts_bytes(const ModelConfig& config, const ScratchShape& shape) {
  const int64_t heads = padded_width(config.head_count * config.head_dim),
                widest = std::max({3 * padded_width(config.hidden_size), padded_width(config.intermediate_size), heads});
  return static_cast<uint64_t>(gradient_parts(shape.batch * shape.tokens) * narrow_width(shape.lora_rank) * widest) * sizeof(float);
}

template <class T>
const float* CudaBackend::factor_sums(const Tensor& narrow, const Tensor& wide) {
  const auto parts = static_cast<unsigned>(gradient_parts(wide.rows)),
             blocks = static_cast<unsigned>((wide.cols + kColumns - 1) / kColumns);
  auto* sums = scratch<float>(kParts, parts * narrow.cols * wide.cols);
  const FactorSums<T> s{values<T>(narrow),
                        values<T>(wide),
                        narrow.stride,
                        wide.stride,
                        wide.rows,
                        static_cast<int32_t>(narrow.cols),
                        static_cast<int32_t>(wide.cols),
                        sums};
  if constexpr (sizeof(T) == 2) {
    if (in_pieces(narrow) && in_pieces(wide)) {
      if (s.ranks <= 16)
        sum_by_tensor_cores<16>(stream_.handle(), s, blocks, parts);
      else if (s.ranks <= 32)
        sum_by_tensor_cores<32>(stream_.handle(), s, blocks, parts);
      else
        sum_by_tensor_cores<64>(stream_.handle(), s, blocks, parts);
      return sums;
    }
  }
  launch_kernel("factor_sums", factor_sums_kernel<T>, dim3(blocks, static_cast<unsigned>((s.ranks + kRanks - 1) / kRanks), parts),
                dim3(kColumns), 0, stream_.handle(), s);
  return sums;
}

void CudaBackend::set_factor_gradient(const float* sums, int64_t ranks, const Tensor& wide, const FactorPlace& place) {
  const auto blocks = static_cast<unsigned>((wide.cols + kColumns - 1) / kColumns);
  launch_kernel("factor_gradient", factor_gradient_kernel, dim3(blocks, static_cast<unsigned>(place.rank)), dim3(kColumns), 0,
                stream_.handle(),
                FactorGradient{sums, gradient_parts(wide.rows), ranks, wide.cols, place.scale, list(place.list, wide.cols),
                               list(place.to, place.rank * place.full), place.rank_stride, place.col_stride});
}

void CudaBackend::launch(const LoraGradient& op) {
  const int64_t width = narrow_width(op.rank), ranks = op.count * width;
  with_compute_type(op.x.dtype, [&](auto t) {
    using T = decltype(t);
    if (op.x.cols > 0) {
      const float* sums = factor_sums<T>(op.dy_narrow.columns(0, ranks), op.x);
      for (int i = 0; i < op.count; i++)
        set_factor_gradient(sums + i * width * op.x.cols, ranks, op.x,
                            {op.outputs[i].da, op.cols, op.rank, op.in_full, op.in_full, 1, op.lora_scale});
    }
    for (int i = 0; i < op.count; i++) {
      const LoraOutput& o = op.outputs[i];
      if (o.dy.cols == 0) continue;
      const float* sums = factor_sums<T>(op.x_narrow.columns(i * width, width), o.dy);
      set_factor_gradient(sums, width, o.dy, {o.db, o.rows, op.rank, o.out_full, 1, op.rank, op.lora_scale});
    }
  });
}

}  // namespace espalier::cuda::ESPALIER_TARGET

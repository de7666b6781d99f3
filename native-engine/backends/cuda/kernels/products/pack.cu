// Dense copies of the factors of products: rows and columns chosen by lists, of any dtype and at any address, scaled and rounded once.
//
// A thread makes eight neighbouring values, so a warp writes whole lines. Where eight stored values lie side by side at an aligned address,
// they are read by one access of 16 bytes. Only chosen columns and matrices at odd addresses are read value by value.
#include "products/pack.h"

#include <type_traits>

#include "tensors/stored_matrix.h"

namespace espalier::cuda::ESPALIER_TARGET {

inline constexpr int64_t kPackThreads = 256;

struct alignas(16) Words4 {
  uint32_t word[4];
};

template <DType stored>
using StoredBits = std::conditional_t<stored == DType::kF32, uint32_t, uint16_t>;

template <DType stored>
__device__ __forceinline__ void stored_values(float (&v)[8], const uint8_t* at) {
  if constexpr (stored == DType::kF32) {
    const Four low = load4(reinterpret_cast<const float*>(at)), high = load4(reinterpret_cast<const float*>(at) + 4);
    v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w;
    v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
  } else {
    const Words4 pairs = load(reinterpret_cast<const Words4*>(at));
    SIMT_UNROLL
    for (int i = 0; i < 4; i++) {
      v[2 * i] = decode_bits<stored>(pairs.word[i] & 0xffffu);
      v[2 * i + 1] = decode_bits<stored>(pairs.word[i] >> 16);
    }
  }
}

template <DType stored, class T>
__global__ void __launch_bounds__(kPackThreads) pack_kernel(Packing p, T* to, int64_t stride, uint32_t pieces_in_row, uint32_t pieces) {
  using Bits = StoredBits<stored>;
  constexpr int kBytes = sizeof(Bits);
  const uint32_t piece = blockIdx.x * static_cast<uint32_t>(kPackThreads) + threadIdx.x;
  if (piece >= pieces) return;
  const int64_t i = piece / pieces_in_row, j = int64_t{piece % pieces_in_row} * 8;
  int64_t row = p.row_index ? load(p.row_index + i) : i;
  if (row >= p.stored_rows) row = -1;
  float v[8];
  const int64_t first = row * p.stride + j;
  if (row >= 0 && !p.col_index && j + 8 <= p.cols && j + 8 <= p.stored_cols &&
      reinterpret_cast<uint64_t>(p.from + first * kBytes) % 16 == 0) {
    stored_values<stored>(v, p.from + first * kBytes);
  } else {
    SIMT_UNROLL
    for (int c = 0; c < 8; c++) {
      int64_t col = j + c >= p.cols ? -1 : p.col_index ? load(p.col_index + j + c) : j + c;
      if (col >= p.stored_cols) col = -1;
      v[c] = row < 0 || col < 0 ? 0.0f : decode_bits<stored>(bits_at<Bits>(p.from + (row * p.stride + col) * kBytes));
    }
  }
  T* at = to + i * stride + j;
  store4(at, Four{v[0], v[1], v[2], v[3]} * all4(p.scale));
  store4(at + 4, Four{v[4], v[5], v[6], v[7]} * all4(p.scale));
}

namespace {

template <class T>
void pack_as(StreamHandle stream, const Packing& p, T* to, PackedRows rows) {
  const int64_t pieces_in_row = rows.filled / kPackMultiple, pieces = p.rows * pieces_in_row;
  if (pieces == 0) return;
  if (pieces > INT32_MAX) throw Error(ErrorCode::kInternal, "backend", "a factor of a product is too large to be packed");
  const auto run = [&](auto kernel) {
    launch_kernel("pack", kernel, dim3(static_cast<unsigned>((pieces + kPackThreads - 1) / kPackThreads)), dim3(kPackThreads), 0, stream, p,
                  to, rows.stride, pieces_in_row, pieces);
  };
  if (p.dtype == DType::kF32)
    run(pack_kernel<DType::kF32, T>);
  else if (p.dtype == DType::kBF16)
    run(pack_kernel<DType::kBF16, T>);
  else
    run(pack_kernel<DType::kF16, T>);
}

}  // namespace

Packing packing_of(const Selection& b, bool transposed, int64_t from, int64_t count) {
  Packing p{list(b.stored.data.as<const uint8_t>(), b.stored.rows * b.stored.cols * dtype_bytes(b.stored.dtype)),
            b.stored.dtype,
            b.stored.cols,
            b.stored.rows,
            b.stored.cols,
            list(b.row_index, b.rows),
            list(b.col_index, b.cols),
            b.rows,
            b.cols,
            b.scale};
  (transposed ? p.rows : p.cols) = count;
  if (const int32_t*& index = transposed ? p.row_index : p.col_index)
    index += from;
  else {
    p.from += from * (transposed ? p.stride : 1) * dtype_bytes(p.dtype);
    (transposed ? p.stored_rows : p.stored_cols) -= from;
  }
  return p;
}

Packing packing_of(const Tensor& a) {
  const uint64_t values = a.rows == 0 ? 0 : (a.rows - 1) * a.stride + a.cols;
  return {list(a.data.as<const uint8_t>(), static_cast<int64_t>(values) * dtype_bytes(a.dtype)),
          a.dtype,
          a.stride,
          a.rows,
          a.cols,
          nullptr,
          nullptr,
          a.rows,
          a.cols,
          1};
}

void pack(StreamHandle stream, const Packing& p, float* to, PackedRows rows) { pack_as(stream, p, to, rows); }
void pack(StreamHandle stream, const Packing& p, bf16* to, PackedRows rows) { pack_as(stream, p, to, rows); }

}  // namespace espalier::cuda::ESPALIER_TARGET

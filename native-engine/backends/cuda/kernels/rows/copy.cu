// Copies of tensors. Narrow rows, such as LoRA's narrow products of 16 bytes, are copied by a kernel: a thread has 16 bytes, and a warp
// many rows. The driver's copy of rows, which has no such case, takes all others.
#include "cuda_backend.h"
#include "tensors/tensor_values.h"

namespace espalier::cuda::ESPALIER_TARGET {

namespace {

constexpr uint64_t kCopiedPiece = 16, kMostNarrowBytes = 256;
constexpr uint32_t kCopyThreads = 256;

struct alignas(16) CopiedPiece {
  uint32_t words[4];
};

// The strides are in pieces.
struct NarrowRows {
  CopiedPiece* to;
  const CopiedPiece* from;
  int64_t to_stride, from_stride;
  uint32_t pieces_in_row, pieces;
};

bool in_copied_pieces(Stream::Rows rows) { return rows.address % kCopiedPiece == 0 && rows.pitch % kCopiedPiece == 0; }

}  // namespace

__global__ void __launch_bounds__(kCopyThreads) copy_rows_kernel(NarrowRows r) {
  const uint32_t i = blockIdx.x * kCopyThreads + threadIdx.x;
  if (i >= r.pieces) return;
  const int64_t row = i / r.pieces_in_row, piece = i % r.pieces_in_row;
  store(r.to + row * r.to_stride + piece, load(r.from + row * r.from_stride + piece));
}

void CudaBackend::launch(const Copy& op) {
  const auto size = static_cast<uint64_t>(dtype_bytes(op.to.dtype)), rows = static_cast<uint64_t>(op.from.rows),
             bytes = op.from.cols * size;
  const Stream::Rows to{op.to.data.address(), op.to.stride * size}, from{op.from.data.address(), op.from.stride * size};
  const uint64_t pieces = rows * (bytes / kCopiedPiece);
  if (pieces == 0 || pieces > INT32_MAX || bytes % kCopiedPiece != 0 || bytes > kMostNarrowBytes || !in_copied_pieces(to) ||
      !in_copied_pieces(from))
    return stream_.copy_rows(to, from, bytes, rows);
  const auto place = [&](Stream::Rows of) {
    return reinterpret_cast<CopiedPiece*>(kernel_address(of.address, (rows - 1) * of.pitch + bytes));
  };
  launch_kernel(
      "copy_rows", copy_rows_kernel, dim3(static_cast<unsigned>((pieces + kCopyThreads - 1) / kCopyThreads)), dim3(kCopyThreads), 0,
      stream_.handle(),
      NarrowRows{place(to), place(from), static_cast<int64_t>(to.pitch / kCopiedPiece), static_cast<int64_t>(from.pitch / kCopiedPiece),
                 static_cast<uint32_t>(bytes / kCopiedPiece), static_cast<uint32_t>(pieces)});
}

}  // namespace espalier::cuda::ESPALIER_TARGET

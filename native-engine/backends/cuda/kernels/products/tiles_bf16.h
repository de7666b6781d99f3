// Tiles of bf16 values in shared memory: how the kernels of the tensor cores copy and read them.
//
// A row of a tile consists of pieces of 16 bytes. They are permuted by the row's number (swizzled): neither the copies nor ldmatrix, which
// reads eight rows of one column of pieces, meet a bank twice.
#pragma once
#include "tensors/tensor_values.h"

namespace espalier::cuda::ESPALIER_TARGET {

inline constexpr int kPiece = 8;  // values in 16 bytes

// Returns the place of a piece of a row in a tile whose rows have `width` values.
template <int width>
__device__ __forceinline__ int piece_place(int row, int piece) {
  constexpr int kPieces = width / kPiece, kPermuted = kPieces < 8 ? kPieces : 8;
  return row * width + (piece ^ (row / (8 / kPermuted) & (kPermuted - 1))) * kPiece;
}

// Copies the first `values` values of a piece, at most 8, and writes zeros for the others, which are not read.
__device__ __forceinline__ void copy_piece(bf16* to, const bf16* from, const bf16* valid_address, int32_t values) {
  const int32_t count = values < 0 ? 0 : values > kPiece ? kPiece : values;
  copy_async16(to, count > 0 ? from : valid_address, count * 2);
}

// Copies rows [row, row + tile_rows) and columns [col, col + width) of a matrix [rows, cols] to a tile; zeros beyond the matrix.
template <int tile_rows, int width, int threads>
__device__ __forceinline__ void copy_tile(bf16* to, const bf16* from, int32_t stride, int32_t row, int32_t rows, int32_t col,
                                          int32_t cols) {
  constexpr int kPieces = width / kPiece;
  SIMT_ROLLED
  for (int i = static_cast<int>(threadIdx.x); i < tile_rows * kPieces; i += threads) {
    const int r = i / kPieces, piece = i % kPieces;
    const int32_t at = col + piece * kPiece;
    copy_piece(to + piece_place<width>(r, piece), from + int64_t{row + r} * stride + at, from, row + r < rows ? cols - at : 0);
  }
}

// Parts [16 deep, 16 wide] of a tile whose rows go across the depth, as the factors of multiply_bf16; depth and first are multiples of 8.
// The left factor is the part turned: its rows are the tile's columns.
template <int width>
__device__ __forceinline__ void load_left(uint32_t (&left)[4], const bf16* tile, int depth, int first) {
  const int lane = static_cast<int>(threadIdx.x) % 32, matrix = lane / 8, r = lane % 8;
  load_matrices_transposed(left, tile + piece_place<width>(depth + matrix / 2 * 8 + r, (first + matrix % 2 * 8) / kPiece));
}
// Two right factors of 8 columns each: pairs[0] and [1], pairs[2] and [3].
template <int width>
__device__ __forceinline__ void load_right(uint32_t (&pairs)[4], const bf16* tile, int depth, int first) {
  const int lane = static_cast<int>(threadIdx.x) % 32, matrix = lane / 8, r = lane % 8;
  load_matrices_transposed(pairs, tile + piece_place<width>(depth + matrix % 2 * 8 + r, (first + matrix / 2 * 8) / kPiece));
}

}  // namespace espalier::cuda::ESPALIER_TARGET

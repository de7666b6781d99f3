// Maps of matrices by which a Hopper card copies boxes to shared memory (copy_box of hopper_instructions.h).
#pragma once
#include <cstdint>

namespace espalier::cuda::ESPALIER_TARGET {

// A matrix of bf16 in global memory and the size of its boxes. Only the driver, or the emulator, reads what it holds.
struct alignas(128) TileMap {
  uint64_t opaque[16];
};

inline constexpr int kBoxCols = 64;  // 128 bytes, the most whose pieces a copy can permute

// Tells whether the driver makes maps.
bool has_tile_maps();

// values: at a multiple of 16 bytes; stride: the values from row to row, a multiple of 8; box_rows: at most 256.
TileMap make_tile_map(const void* values, int64_t rows, int64_t cols, int64_t stride, int box_rows);

}  // namespace espalier::cuda::ESPALIER_TARGET

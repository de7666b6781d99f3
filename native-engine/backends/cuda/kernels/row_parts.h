// Sums over the rows of a matrix: each of some blocks adds up the rows of its part, then the parts are added in their order. How many
// parts there are depends on the rows alone, so every card adds in the same order.
#pragma once
#include <algorithm>
#include <cstdint>

namespace espalier::cuda::ESPALIER_TARGET {

inline constexpr int64_t kMostRowParts = 264;  // two for each multiprocessor of the largest card

inline constexpr int64_t kMostSquareParts = 256;  // of a sum of squares

inline int64_t row_parts(int64_t rows) { return std::min(rows, kMostRowParts); }

// Passes whose threads own four columns each and go down the rows of a part: grid (column_blocks, parts).
inline constexpr int64_t kColumnThreads = 128;
inline unsigned column_blocks(int64_t cols) { return static_cast<unsigned>((cols / 4 + kColumnThreads - 1) / kColumnThreads); }

}  // namespace espalier::cuda::ESPALIER_TARGET

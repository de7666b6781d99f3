// Sums over the rows of a matrix: each block adds the rows of its part, then the parts are added in their order. The number of parts
// depends only on the rows, so every card adds in the same order.
#pragma once
#include <algorithm>
#include <cstdint>

namespace espalier::cuda::ESPALIER_TARGET {

inline constexpr int64_t kMostRowParts = 264;  // two for each multiprocessor of the largest card

inline constexpr int64_t kMostSquareParts = 256;  // the parts of a sum of squares

inline int64_t row_parts(int64_t rows) { return std::min(rows, kMostRowParts); }

// For passes whose threads have four columns each and go down the rows of a part: the grid is (column_blocks, parts).
inline constexpr int64_t kColumnThreads = 128;
inline unsigned column_blocks(int64_t cols) { return static_cast<unsigned>((cols / 4 + kColumnThreads - 1) / kColumnThreads); }

}  // namespace espalier::cuda::ESPALIER_TARGET

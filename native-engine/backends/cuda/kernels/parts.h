// Sums over the rows of a matrix: each of some blocks adds up the rows of its part, then the parts are added in their order. How many
// parts there are depends on the rows alone, so every card adds in the same order.
#pragma once
#include <algorithm>
#include <cstdint>

namespace espalier::cuda::ESPALIER_TARGET {

inline constexpr int64_t kMostRowParts = 264;  // two for each multiprocessor of the largest card

inline int64_t row_parts(int64_t rows) { return std::min(rows, kMostRowParts); }

}  // namespace espalier::cuda::ESPALIER_TARGET

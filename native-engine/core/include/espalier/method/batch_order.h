// The order in which steps read a text.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace espalier {

// The number of rows of a source, and its part of all sequences.
struct SourceRows {
  int64_t rows = 0;
  uint64_t parts = 1;
};
struct RowOfText {
  size_t source = 0;
  int64_t row = 0;
  friend bool operator==(const RowOfText&, const RowOfText&) = default;
};

// Returns the rows of the sequences [first, first + count), where step `step` has the sequences [step * batch_size, (step + 1) *
// batch_size). The function is pure. Every source is read epoch by epoch: an epoch visits each of its rows once, in an order that (seed,
// epoch, source) decides. The parts decide evenly which source a sequence belongs to: of the first n sequences, a source has its part of n,
// give or take the number of sources (docs/design/mixtures.md).
std::vector<RowOfText> rows_in_order(uint64_t seed, int64_t first, int64_t count, std::span<const SourceRows> sources);

// Returns the rows of the batch of step `step`, for a single source.
std::vector<int64_t> batch_rows(uint64_t seed, int64_t step, int64_t batch_size, int64_t row_count);

}  // namespace espalier

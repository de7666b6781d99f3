// The order in which steps read a text.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace espalier {

// Rows of a source, and its part of all sequences.
struct SourceRows {
  int64_t rows = 0;
  uint64_t parts = 1;
};
struct RowOfText {
  size_t source = 0;
  int64_t row = 0;
  friend bool operator==(const RowOfText&, const RowOfText&) = default;
};

// Sequences [first, first + count), where a step's are [step * batch_size, (step + 1) * batch_size); pure. Every source is read epoch by
// epoch: an epoch visits each of its rows once, in an order keyed by (seed, epoch, source). Which source a sequence is of follows from the
// parts, evenly: of the first n sequences, a source has its part of n, give or take the number of sources (docs/design/mixtures.md).
std::vector<RowOfText> rows_in_order(uint64_t seed, int64_t first, int64_t count, std::span<const SourceRows> sources);

// Rows of the batch of step `step`, of a single source.
std::vector<int64_t> batch_rows(uint64_t seed, int64_t step, int64_t batch_size, int64_t row_count);

}  // namespace espalier

// The order in which steps read a text.
#pragma once
#include <cstdint>
#include <vector>

namespace espalier {

// Row indices of the batch of step `step`: each epoch visits every row once in an order keyed by (seed, epoch); pure.
std::vector<int64_t> batch_rows(uint64_t seed, int64_t step, int64_t batch_size, int64_t row_count);

}  // namespace espalier

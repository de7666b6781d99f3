// The tokens of a step, and the target of each.
#pragma once
#include <vector>

#include "espalier/step/token_data.h"

namespace espalier {

// Rows of a text, one after the other.
struct TokenRows {
  std::vector<int32_t> ids;
  std::vector<int32_t> targets;  // the next token; -1 at the end of a row, and where the next token is context
};
// Returns the sequences [first, first + count) in the order that the seed decides (espalier/method/batch_order.h).
TokenRows token_rows(const TrainingText& text, uint64_t seed, int64_t first, int64_t count, int64_t tokens_per_row);

std::vector<int32_t> next_tokens(const std::vector<int32_t>& ids, int64_t tokens_per_row);

}  // namespace espalier

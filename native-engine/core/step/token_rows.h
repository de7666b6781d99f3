// Tokens of a step, and the target of each.
#pragma once
#include <vector>

#include "espalier/token_data.h"

namespace espalier {

// Rows of a text, one after the other.
struct TokenRows {
  std::vector<int32_t> ids;
  std::vector<int32_t> targets;  // the next token; -1 at the end of a row, and where that token is context
};
TokenRows token_rows(const TokenData& text, const std::vector<int64_t>& rows, int64_t tokens_per_row);

std::vector<int32_t> next_tokens(const std::vector<int32_t>& ids, int64_t tokens_per_row);

}  // namespace espalier

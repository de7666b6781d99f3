#include "step/token_rows.h"

#include <cstddef>

namespace espalier {

TokenData token_data(std::vector<uint32_t> words) {
  constexpr uint32_t kContext = UINT32_C(1) << 31;
  TokenData data{std::move(words), {}};
  for (size_t i = 0; i < data.ids.size(); i++) {
    if ((data.ids[i] & kContext) == 0) continue;
    data.ids[i] &= ~kContext;
    data.context.resize(data.ids.size());
    data.context[i] = true;
  }
  return data;
}

TokenRows token_rows(const TokenData& text, const std::vector<int64_t>& rows, int64_t tokens_per_row) {
  TokenRows out;
  for (const int64_t row : rows)
    out.ids.insert(out.ids.end(), text.ids.begin() + row * tokens_per_row, text.ids.begin() + (row + 1) * tokens_per_row);
  out.targets = next_tokens(out.ids, tokens_per_row);
  if (text.context.empty()) return out;
  for (size_t i = 0; i < rows.size(); i++)
    for (int64_t t = 0; t + 1 < tokens_per_row; t++)
      if (text.context[rows[i] * tokens_per_row + t + 1]) out.targets[i * tokens_per_row + t] = -1;
  return out;
}

std::vector<int32_t> next_tokens(const std::vector<int32_t>& ids, int64_t tokens_per_row) {
  std::vector<int32_t> next(ids.size(), -1);
  for (size_t i = 0; i + 1 < ids.size(); i++)
    if (static_cast<int64_t>(i + 1) % tokens_per_row != 0) next[i] = ids[i + 1];
  return next;
}

}  // namespace espalier

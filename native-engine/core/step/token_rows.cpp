#include "step/token_rows.h"

#include <algorithm>
#include <cstddef>

#include "espalier/method/batch_order.h"

namespace espalier {
namespace {
constexpr uint32_t kContext = UINT32_C(1) << 31;
}

TokenData token_data(std::vector<uint32_t> words) {
  TokenData data;
  data.ids = std::move(words);
  for (size_t i = 0; i < data.ids.size(); i++) {
    if ((data.ids[i] & kContext) == 0) continue;
    data.ids[i] &= ~kContext;
    data.context.resize(data.ids.size());
    data.context[i] = true;
  }
  return data;
}

uint32_t TokenData::largest_id() const { return ids.empty() ? 0 : *std::max_element(ids.begin(), ids.end()); }

std::vector<uint32_t> TokenData::words(int64_t first, int64_t count) const {
  std::vector<uint32_t> out(ids.begin() + first, ids.begin() + first + count);
  for (size_t i = 0; !context.empty() && i < out.size(); i++)
    if (context[static_cast<size_t>(first) + i]) out[i] |= kContext;
  return out;
}

int64_t TrainingText::size() const {
  int64_t sum = 0;
  for (const TokenSource& source : sources) sum += source.text->size();
  return sum;
}

int64_t TrainingText::row_count(int64_t tokens_per_row) const {
  int64_t sum = 0;
  for (const TokenSource& source : sources) sum += source.text->size() / tokens_per_row;
  return sum;
}

uint32_t TrainingText::largest_id() const {
  uint32_t largest = 0;
  for (const TokenSource& source : sources) largest = std::max(largest, source.text->largest_id());
  return largest;
}

TokenRows token_rows(const TrainingText& text, uint64_t seed, int64_t first, int64_t count, int64_t tokens_per_row) {
  std::vector<SourceRows> sources;
  for (const TokenSource& source : text.sources) sources.push_back({source.text->size() / tokens_per_row, source.parts});
  TokenRows out;
  for (const RowOfText& at : rows_in_order(seed, first, count, sources)) {
    const std::vector<uint32_t> words = text.sources[at.source].text->words(at.row * tokens_per_row, tokens_per_row);
    for (size_t t = 0; t < words.size(); t++) {
      out.ids.push_back(static_cast<int32_t>(words[t] & ~kContext));
      const bool is_target = t + 1 < words.size() && (words[t + 1] & kContext) == 0;
      out.targets.push_back(is_target ? static_cast<int32_t>(words[t + 1]) : -1);
    }
  }
  return out;
}

std::vector<int32_t> next_tokens(const std::vector<int32_t>& ids, int64_t tokens_per_row) {
  std::vector<int32_t> next(ids.size(), -1);
  for (size_t i = 0; i + 1 < ids.size(); i++)
    if (static_cast<int64_t>(i + 1) % tokens_per_row != 0) next[i] = ids[i + 1];
  return next;
}

}  // namespace espalier

// The order of rows within an epoch. It is a keyed permutation that is computed one index at a time, so a position needs no history.
#include "espalier/method/batch_order.h"
#include "espalier/base/error.h"
#include "method/philox.h"

namespace espalier {

namespace {

// A balanced Feistel network on [0, 2^(2 * half_bits)). It is applied again until the value is below `count`, which makes it a permutation
// of [0, count). The domain is below 4 * count, so few turns are needed.
class EpochOrder {
 public:
  EpochOrder(uint64_t seed, int64_t epoch, size_t source, int64_t count)
      : seed_(seed), epoch_(epoch), source_(static_cast<int64_t>(source) << 40), count_(static_cast<uint64_t>(count)) {
    while (uint64_t{1} << (2 * half_bits_) < count_) half_bits_++;
  }

  int64_t row_at(int64_t position) const {
    auto value = static_cast<uint64_t>(position);
    do value = encrypt(value);
    while (value >= count_);
    return static_cast<int64_t>(value);
  }

 private:
  uint64_t encrypt(uint64_t value) const {
    const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
    uint64_t left = value >> half_bits_, right = value & mask;
    for (uint64_t round = 0; round < 6; round++) {
      const auto index = source_ | static_cast<int64_t>(right << 3 | round);
      const auto words = random_words(seed_, epoch_, static_cast<uint32_t>(RandomStream::kBatchOrder), index);
      const uint64_t next = left ^ (words[0] & mask);
      left = right;
      right = next;
    }
    return left << half_bits_ | right;
  }

  uint64_t seed_;
  int64_t epoch_, source_;
  uint64_t count_;
  int half_bits_ = 1;
};

// Takes the first source's sequences out of all sequences, then the second's out of the rest, and so on. Out of n sequences a source has
// floor((n * its parts + phase) / the parts of it and of the sources after it), which is exact in whole numbers and needs no history. The
// seed decides the phase.
class SourceOrder {
 public:
  SourceOrder(uint64_t seed, std::span<const SourceRows> sources) : sources_(sources), rest_(sources.size()), phase_(sources.size()) {
    uint64_t rest = 0;
    for (size_t s = sources.size(); s-- > 0;) {
      rest_[s] = rest += sources[s].parts;
      const auto words = random_words(seed, -1, static_cast<uint32_t>(RandomStream::kBatchOrder), static_cast<int64_t>(s));
      phase_[s] = (static_cast<uint64_t>(words[0]) << 32 | words[1]) % rest;
    }
  }

  // Returns the sequence's source, and how many sequences of that source come before it.
  RowOfText at(int64_t sequence) const {
    auto n = static_cast<uint64_t>(sequence);
    size_t s = 0;
    for (; s + 1 < sources_.size(); s++) {
      const uint64_t before = taken(s, n);
      if (taken(s, n + 1) > before) return {s, static_cast<int64_t>(before)};
      n -= before;
    }
    return {s, static_cast<int64_t>(n)};
  }

 private:
  uint64_t taken(size_t s, uint64_t n) const { return (n * sources_[s].parts + phase_[s]) / rest_[s]; }

  std::span<const SourceRows> sources_;
  std::vector<uint64_t> rest_, phase_;
};

// With this limit n * parts fits into 64 bits for the longest run.
constexpr uint64_t kPartsMax = 1'000'000;

void check(std::span<const SourceRows> sources) {
  const auto refuse = [](const std::string& what) { throw Error(ErrorCode::kInvalidArgument, "data", what); };
  uint64_t parts = 0;
  for (const SourceRows& source : sources) {
    if (source.rows < 1) refuse("the training data holds no row of the sequence length");
    if (source.parts < 1 || source.parts > kPartsMax) refuse("the part of a source must be from 1 to " + std::to_string(kPartsMax));
    parts += source.parts;
  }
  if (sources.empty() || parts > kPartsMax) refuse("there must be a source, and all parts together at most " + std::to_string(kPartsMax));
}

}  // namespace

std::vector<RowOfText> rows_in_order(uint64_t seed, int64_t first, int64_t count, std::span<const SourceRows> sources) {
  check(sources);
  const SourceOrder order(seed, sources);
  std::vector<RowOfText> out;
  for (int64_t i = first; i < first + count; i++) {
    const auto [source, position] = order.at(i);
    const int64_t rows = sources[source].rows;
    out.push_back({source, EpochOrder(seed, position / rows, source, rows).row_at(position % rows)});
  }
  return out;
}

std::vector<int64_t> batch_rows(uint64_t seed, int64_t step, int64_t batch_size, int64_t row_count) {
  if (batch_size < 1 || step < 0)
    throw Error(ErrorCode::kInvalidArgument, batch_size < 1 ? "batch_size" : "step",
                "must not be below " + std::string(batch_size < 1 ? "1" : "0"));
  const SourceRows whole{row_count, 1};
  std::vector<int64_t> rows;
  for (const RowOfText& at : rows_in_order(seed, step * batch_size, batch_size, {&whole, 1})) rows.push_back(at.row);
  return rows;
}

}  // namespace espalier

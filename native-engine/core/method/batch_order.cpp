// The order of rows within an epoch: a keyed permutation computed one index at a time, so a position needs no history.
#include "espalier/batch_order.h"
#include "espalier/error.h"
#include "method/philox.h"

namespace espalier {

namespace {

// A balanced Feistel network on [0, 2^(2 * half_bits)); walking the cycle until the value falls below `count` makes it a
// permutation of [0, count). The domain is below 4 * count, so a walk takes a few turns.
class EpochOrder {
 public:
  EpochOrder(uint64_t seed, int64_t epoch, int64_t count) : seed_(seed), epoch_(epoch), count_(static_cast<uint64_t>(count)) {
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
      const auto index = static_cast<int64_t>(right << 3 | round);
      const auto words = random_words(seed_, epoch_, static_cast<uint32_t>(RandomStream::kBatchOrder), index);
      const uint64_t next = left ^ (words[0] & mask);
      left = right;
      right = next;
    }
    return left << half_bits_ | right;
  }

  uint64_t seed_;
  int64_t epoch_;
  uint64_t count_;
  int half_bits_ = 1;
};

}  // namespace

std::vector<int64_t> batch_rows(uint64_t seed, int64_t step, int64_t batch_size, int64_t row_count) {
  if (row_count < 1) throw Error(ErrorCode::kInvalidArgument, "data", "the training data holds no row of the sequence length");
  if (batch_size < 1 || step < 0)
    throw Error(ErrorCode::kInvalidArgument, batch_size < 1 ? "batch_size" : "step",
                "must not be below " + std::string(batch_size < 1 ? "1" : "0"));
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < batch_size; i++) {
    const int64_t position = step * batch_size + i;
    rows.push_back(EpochOrder(seed, position / row_count, row_count).row_at(position % row_count));
  }
  return rows;
}

}  // namespace espalier

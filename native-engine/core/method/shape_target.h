// How many gates the deterministic masks leave open, so that the result has the shapes that the settings ask for, and how the log-alphas
// are kept to these shapes while they learn.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "espalier/train_state.h"

namespace espalier {

// Gates of blocks are settled before those of heads and units: as many stay open as their probabilities add up to, over all layers
// together, the likeliest first. What lies under a closed block gets a log-alpha of minus infinity, so that it counts as closed.
class SettledBlocks {
 public:
  SettledBlocks(const ModelConfig& config, const LogAlphas& log_alphas);

  // The state's own, where it has no gates of blocks.
  std::span<const float> head() const { return head_.empty() ? own_head_ : std::span<const float>(head_); }
  std::span<const float> intermediate() const { return units_.empty() ? own_units_ : std::span<const float>(units_); }

 private:
  void settle_attention(const ModelConfig& config, const LogAlphas& a);
  void settle_mlps(const ModelConfig& config, const LogAlphas& a);

  std::span<const float> own_head_, own_units_;
  std::vector<float> head_, units_;
};

struct OpenCounts {
  std::vector<int64_t> heads, units;  // [L]
  int64_t hidden = 0;
};

// Without a target each group of gates has as many open as its probabilities add up to, so roundings add up over the groups. With
// exact_size, the intermediate units correct the sum: those units of all layers change that are the likeliest to be open, or to be closed.
// With shapes, counts are rounded to them, the hidden units first, and again the units correct the difference. So the size stays that of
// the probabilities to within the last rounding.
OpenCounts open_counts(const ModelConfig& config, const LogAlphas& log_alphas, const SettledBlocks& settled);

// Changes log-alphas after an update: layers that have to be alike come to the same expected number of open gates, and the heads of a
// block that goes as a whole have one log-alpha. Without a target nothing changes. `masks`: all log-alphas, as in the layout.
void keep_shape(const ModelConfig& config, const ShapeTarget& target, const StateLayout& layout, std::span<float> masks);

}  // namespace espalier

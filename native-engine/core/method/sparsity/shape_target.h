// Decides how many gates the deterministic masks leave open, so that the result has the shapes that the settings ask for, and keeps the
// log-alphas to these shapes while they learn.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "espalier/method/train_state.h"

namespace espalier {

// Settles the gates of blocks, before those of heads and units: as many stay open as their probabilities add up to, over all layers
// together, the likeliest first. Gates inside a closed block get a log-alpha of minus infinity, so that they count as closed.
class SettledBlocks {
 public:
  SettledBlocks(const ModelConfig& config, const LogAlphas& log_alphas);

  // The log-alphas after blocks are settled. They are the state's own log-alphas where it has no gates of blocks.
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

// Without a target, the number of open gates in each group is the sum of its probabilities, so rounding errors add up over the groups. With
// exact_size, the intermediate units correct the sum: of all layers, the units that are the likeliest to be open, or to be closed, change.
// With shapes, counts are rounded to them, the hidden units first, and again the units correct the difference. So the size stays that of
// the probabilities to within the last rounding.
OpenCounts open_counts(const ModelConfig& config, const LogAlphas& log_alphas, const SettledBlocks& settled);

// Changes log-alphas after an update: layers that must be alike get the same expected number of open gates, and the heads of a block that
// opens or closes as a whole get one log-alpha. Without a target nothing changes. `masks`: all log-alphas in the order of the layout.
void keep_shape(const ModelConfig& config, const ShapeTarget& target, const StateLayout& layout, std::span<float> masks);

}  // namespace espalier

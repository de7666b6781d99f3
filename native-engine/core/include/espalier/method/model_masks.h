// The masks of a model, and the sparsity that they give.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "espalier/method/train_state.h"

namespace espalier {

// The masks of heads, units and hidden units, as a pass, a teacher and an export use them. A step samples gates of blocks separately; then
// the masks of heads and units are those of their own gates alone.
struct Masks {
  std::vector<float> head;            // [L, H]
  std::vector<float> intermediate;    // [L, I]
  std::vector<float> hidden;          // [D]
  std::vector<float> kv_group = {};   // [L, G], or empty
  std::vector<float> attention = {};  // [L], or empty
  std::vector<float> mlp = {};        // [L], or empty
};

struct HardSparsity {
  double sparsity = 0;  // the share of the prunable parameters that the deterministic masks remove
  double expected_sparsity = 0;
  std::vector<int32_t> heads_open;  // [L]
  std::vector<int32_t> units_open;  // [L]
  int32_t hidden_open = 0;
};

// Returns the deterministic masks of a state. Gates of blocks are already part of the masks of heads and units.
Masks deterministic_masks(const ModelConfig& config, const LogAlphas& log_alphas);
// `masks` are the deterministic masks of the log-alphas.
HardSparsity hard_sparsity(const ModelConfig& config, const LogAlphas& log_alphas, const Masks& masks);
inline HardSparsity hard_sparsity(const ModelConfig& config, const LogAlphas& log_alphas) {
  return hard_sparsity(config, log_alphas, deterministic_masks(config, log_alphas));
}

}  // namespace espalier

// Masks of a model, and the sparsity that they come to.
#pragma once
#include <cstdint>
#include <vector>

#include "espalier/train_state.h"

namespace espalier {

// Masks of heads, units and hidden units, as a pass, a teacher and an export use them. Where gates of blocks are held apart, as a step
// samples them, those of heads and units are their own gates' alone.
struct Masks {
  std::vector<float> head;            // [L, H]
  std::vector<float> intermediate;    // [L, I]
  std::vector<float> hidden;          // [D]
  std::vector<float> kv_group = {};   // [L, G], or none
  std::vector<float> attention = {};  // [L], or none
  std::vector<float> mlp = {};        // [L], or none
};

struct HardSparsity {
  double sparsity = 0;  // share of the prunable parameters gone, by the deterministic masks
  double expected_sparsity = 0;
  std::vector<int32_t> heads_open;  // [L]
  std::vector<int32_t> units_open;  // [L]
  int32_t hidden_open = 0;
};

// The masks of a state. Gates of blocks are part of those of heads and units.
Masks deterministic_masks(const ModelConfig& config, const LogAlphas& log_alphas);
HardSparsity hard_sparsity(const ModelConfig& config, const LogAlphas& log_alphas);

}  // namespace espalier

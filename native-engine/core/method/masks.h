// Masks of all kinds from log-alphas: sampled for a step, deterministic for everything else.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "espalier/model_masks.h"

namespace espalier {

Masks open_masks(const ModelConfig& config);  // all ones
// Each kind of gates from a stream of its own, those of blocks apart.
Masks sample_masks(const LogAlphas& log_alphas, uint64_t seed, int64_t step);

// The kinds in the order of a state.
inline std::array<std::vector<float>*, 6> kinds_of(Masks& m) {
  return {&m.head, &m.intermediate, &m.hidden, &m.kv_group, &m.attention, &m.mlp};
}
inline std::array<const std::vector<float>*, 6> kinds_of(const Masks& m) {
  return {&m.head, &m.intermediate, &m.hidden, &m.kv_group, &m.attention, &m.mlp};
}

// The masks that a pass takes: each head's gate times its group's and its layer's, each unit's times its layer's.
Masks with_blocks(const ModelConfig& config, const Masks& gates);
// From the gradient of those masks that of the gates.
Masks gradient_of_gates(const ModelConfig& config, const Masks& gates, const Masks& grad_masks);

// The `open` gates with the highest log-alphas; among equal ones those of the highest indices.
std::vector<bool> highest(std::span<const float> log_alpha, int64_t open);

// Counts of the gates that the masks leave open.
OpenWidths open_widths(const ModelConfig& config, const Masks& masks);

// Which rows and columns of a layer's projections the masks leave open, in the order in which a role has them.
struct OpenPlaces {
  struct Layer {
    std::vector<int32_t> query, kv, units;  // rows of q_proj; of k_proj and v_proj; of gate_proj and up_proj
  };
  std::vector<int32_t> hidden;
  std::vector<Layer> layers;
};
OpenPlaces open_places(const ModelConfig& config, const Masks& masks);

// grad_z * dz/dlog_alpha, for each kind.
Masks log_alpha_gradient(const Masks& z, const Masks& grad_z);

}  // namespace espalier

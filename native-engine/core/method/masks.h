// Masks of all kinds from log-alphas: sampled for a step, deterministic for everything else.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "espalier/model_masks.h"

namespace espalier {

Masks open_masks(const ModelConfig& config);  // all ones

// The random part of a step's masks. It follows from seed and step alone, so it can be drawn while the log-alphas still change.
struct MaskNoise {
  uint64_t seed = 0;
  int64_t step = -1;
  std::array<std::vector<double>, 6> kinds;  // in the order of a state

  bool is_of(uint64_t of_seed, int64_t of_step) const { return seed == of_seed && step == of_step; }
};
// Each kind of gates from a stream of its own. Only the number of the log-alphas counts.
MaskNoise mask_noise(const LogAlphas& log_alphas, uint64_t seed, int64_t step);
// A sample of each kind of gates. The masks of blocks are not in those of the gates inside them (with_blocks).
Masks sample_masks(const LogAlphas& log_alphas, const MaskNoise& noise);
inline Masks sample_masks(const LogAlphas& log_alphas, uint64_t seed, int64_t step) {
  return sample_masks(log_alphas, mask_noise(log_alphas, seed, step));
}

// The kinds in the order of a state.
inline std::array<std::vector<float>*, 6> kinds_of(Masks& m) {
  return {&m.head, &m.intermediate, &m.hidden, &m.kv_group, &m.attention, &m.mlp};
}
inline std::array<const std::vector<float>*, 6> kinds_of(const Masks& m) {
  return {&m.head, &m.intermediate, &m.hidden, &m.kv_group, &m.attention, &m.mlp};
}
inline std::array<std::span<const float>, 6> kinds_of(const LogAlphas& a) {
  return {a.head, a.intermediate, a.hidden, a.kv_group, a.attention, a.mlp};
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

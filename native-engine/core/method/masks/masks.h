// Makes masks of all kinds from log-alphas: sampled for a step, deterministic for everything else.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "espalier/method/model_masks.h"

namespace espalier {

Masks open_masks(const ModelConfig& config);  // all masks are 1

// The random part of a step's masks. Only seed and step decide it, so it can be drawn while the log-alphas still change.
struct MaskNoise {
  uint64_t seed = 0;
  int64_t step = -1;
  std::array<std::vector<double>, 6> kinds;  // in the order of a state

  bool is_of(uint64_t of_seed, int64_t of_step) const { return seed == of_seed && step == of_step; }
};
// Draws the noise of each kind of gates from a stream of its own. Of the log-alphas only their number matters.
MaskNoise mask_noise(const LogAlphas& log_alphas, uint64_t seed, int64_t step);
// Returns a sample of each kind of gates, with this share of the noise. The masks of blocks are not multiplied into those of the gates
// inside them (see with_blocks).
Masks sample_masks(const LogAlphas& log_alphas, const MaskNoise& noise, double share = 1);
inline Masks sample_masks(const LogAlphas& log_alphas, uint64_t seed, int64_t step) {
  return sample_masks(log_alphas, mask_noise(log_alphas, seed, step));
}

// Returns the kinds in the order of a state.
inline std::array<std::vector<float>*, 6> kinds_of(Masks& m) {
  return {&m.head, &m.intermediate, &m.hidden, &m.kv_group, &m.attention, &m.mlp};
}
inline std::array<const std::vector<float>*, 6> kinds_of(const Masks& m) {
  return {&m.head, &m.intermediate, &m.hidden, &m.kv_group, &m.attention, &m.mlp};
}
// Returns the values of all kinds, one kind after the other.
inline std::vector<float> in_a_row(const Masks& m) {
  std::vector<float> all;
  for (const std::vector<float>* kind : kinds_of(m)) all.insert(all.end(), kind->begin(), kind->end());
  return all;
}
inline std::array<std::span<const float>, 6> kinds_of(const LogAlphas& a) {
  return {a.head, a.intermediate, a.hidden, a.kv_group, a.attention, a.mlp};
}

// Returns the masks that a pass uses: each head's gate times its group's and its layer's, each unit's times its layer's.
Masks with_blocks(const ModelConfig& config, const Masks& gates);
// Returns the gradient of the gates, from the gradient of the masks that with_blocks makes.
Masks gradient_of_gates(const ModelConfig& config, const Masks& gates, const Masks& grad_masks);

// Marks the `open` gates with the highest log-alphas; among equal ones those with the highest indices.
std::vector<bool> highest(std::span<const float> log_alpha, int64_t open);

// Returns the numbers of gates that the masks leave open.
OpenWidths open_widths(const ModelConfig& config, const Masks& masks);

// The rows and columns of a layer's projections that the masks leave open, in the order in which a role has them.
struct OpenPlaces {
  struct Layer {
    std::vector<int32_t> query, kv, units;  // rows of q_proj; rows of k_proj and v_proj; rows of gate_proj and up_proj
  };
  std::vector<int32_t> hidden;
  std::vector<Layer> layers;
};
OpenPlaces open_places(const ModelConfig& config, const Masks& masks);

// Returns grad_z * dz/dlog_alpha for each kind of gates.
Masks log_alpha_gradient(const Masks& z, const Masks& grad_z);

}  // namespace espalier

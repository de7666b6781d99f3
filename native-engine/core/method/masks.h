// Masks of all three kinds from log-alphas: sampled for a step, deterministic for everything else.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "espalier/trainer.h"

namespace espalier {

Masks open_masks(const ModelConfig& config);  // all ones
Masks sample_masks(const LogAlphas& log_alphas, uint64_t seed, int64_t step);

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

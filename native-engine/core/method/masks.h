// Masks of all three kinds from log-alphas: sampled for a step, deterministic for everything else.
#pragma once
#include <cstdint>
#include <span>

#include "espalier/trainer.h"

namespace espalier {

Masks open_masks(const ModelConfig& config);  // all ones
Masks sample_masks(const LogAlphas& log_alphas, uint64_t seed, int64_t step);

// grad_z * dz/dlog_alpha, for each kind.
Masks log_alpha_gradient(const Masks& z, const Masks& grad_z);

}  // namespace espalier

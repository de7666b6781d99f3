// The parameters that masks can remove, the sparsity of masks, and its Lagrangian; all in double.
#pragma once
#include <vector>

#include "espalier/trainer.h"

namespace espalier {

// Embeddings, norms and lm_head are not counted. With grouped queries K and V are shared, so they are stable.
struct PrunableSizes {
  double head = 0;          // parameters that go with one query head
  double intermediate = 0;  // and with one intermediate unit
  double prunable = 0, stable = 0;
};
PrunableSizes prunable_sizes(const ModelConfig& config);

double expected_sparsity(const ModelConfig& config, const LogAlphas& log_alphas);

// gradient += slope * d expected_sparsity / d log_alpha.
void add_sparsity_gradient(const ModelConfig& config, const LogAlphas& log_alphas, double slope, Masks& gradient);

}  // namespace espalier

// The figures of a step, and of the refit that recovery begins with.
#pragma once
#include <cstdint>
#include <vector>

#include "espalier/model_weights.h"

namespace espalier {

struct StepReport {
  int64_t step = 0;                                                           // number of this step, from 0
  double loss = 0, layer_loss = 0, kl_loss = 0, lm_loss = 0, lagrangian = 0;  // NaN where a loss has no part
  double scheduled_sparsity = 0;
  double expected_sparsity = 0;  // of the log-alphas after the update
  double gradient_norm = 0;      // of LoRA or of own weights, before clipping
  double lambda1 = 0, lambda2 = 0;
  double seconds = 0;
  int64_t open_heads = 0, open_units = 0, open_hidden = 0;  // gates of this step's sample that are not exactly 0
  bool skipped = false;                                     // loss or gradient was not finite: state unchanged but for the step number
};

// Sums over the text of the squared differences between the intact model's residual stream after the projection and the student's.
struct RefittedProjection {
  int64_t layer = 0;
  Projection projection = kO;
  double error_before = 0, error_after = 0;
};

// The refit that recovery began with, and whether it stayed: it does where the loss of the phase is lower by it.
struct RefitReport {
  std::vector<RefittedProjection> projections;
  double loss_before = 0, loss_after = 0;  // summed over the refit's batches
  bool kept = false;
};

}  // namespace espalier

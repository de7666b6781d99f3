// The figures of a step, and those of the refit with which recovery begins.
#pragma once
#include <cstdint>
#include <vector>

#include "espalier/method/losses.h"
#include "espalier/model/model_weights.h"

namespace espalier {

struct StepReport : StepLosses {
  int64_t step = 0;                 // the number of this step, from 0
  double loss = 0, lagrangian = 0;  // the loss is the weighted sum, with the Lagrangian
  double scheduled_sparsity = 0;
  double expected_sparsity = 0;  // by the log-alphas after the update
  double gradient_norm = 0;      // the norm of LoRA's or the own weights' gradient, before clipping
  double lambda1 = 0, lambda2 = 0;
  double seconds = 0;
  int64_t open_heads = 0, open_units = 0, open_hidden = 0;  // the gates of this step's sample that are not exactly 0
  bool skipped = false;                                     // loss or gradient was not finite: only the step number of the state changed
};

// Sums over the text of the squared differences between the residual streams of the intact model and of the student after the projection.
struct RefittedProjection {
  int64_t layer = 0;
  Projection projection = kO;
  double error_before = 0, error_after = 0;
};

// A narrower attention or MLP of a layer, and what the model loses where it alone is in place of the intact one.
struct ScannedForm {
  bool attention = false;
  int64_t kept = 0;  // the heads or units that are left
  double kl = 0;     // the divergence of the predictions from the intact model's, the mean over the scored tokens
  double loss = 0;   // the rise of the cross-entropy, the mean over the scored predictions
};

struct LayerScan {
  int64_t layer = 0;
  std::vector<ScannedForm> forms;  // those of attention, then those of the MLP, the widest first
};

// The refit with which recovery began, and whether it was kept: it is where it lowers the loss of the phase.
struct RefitReport {
  std::vector<RefittedProjection> projections;
  double loss_before = 0, loss_after = 0;  // sums over the refit's batches
  bool kept = false;
};

}  // namespace espalier

// The update of a step: clipping, AdamW on LoRA and log-alphas, ascent of the Lagrange multipliers.
#pragma once
#include "step/step.h"

namespace espalier {

struct UpdateInput {
  const SegmentPlan& plan;
  int64_t index;   // the number of the step within the plan
  const Masks& z;  // the step's sample, with gates of blocks separate
  const StepOutput& step;
  DevicePtr<const float> lora_gradient;
};

struct UpdateResult {
  double lagrangian = 0;
  double gradient_norm = 0;
  bool skipped = false;  // true where the loss or a gradient was not finite; then the state is as before
};

UpdateResult apply_update(Backend& backend, const ModelConfig& config, DeviceState& state, const UpdateInput& in);

}  // namespace espalier

// Turns the sums that the shards of a step left on their devices into its losses and the gradients of its masks, on the host.
#pragma once
#include "step/step.h"

namespace espalier {

// Returns the factor in d loss / d diff = layer_scale * diff, which is the same for each layer.
float layer_scale(const PassContext& c, const StepInput& in);

Masks mask_gradients(const PassContext& c, const StepInput& in, const StepResults& results);
void read_losses(const PassContext& c, const StepInput& in, const StepResults& results, StepOutput& out);

}  // namespace espalier

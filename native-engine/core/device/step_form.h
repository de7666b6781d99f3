// How a device wants the steps of a training laid out. This decides the order of sums, and which values are rounded before they are scaled,
// but never which values are computed.
#pragma once
#include <cstdint>

#include "device/memory.h"

namespace espalier {

struct StepForm {
  // True where LoRA's narrow products lie in the same rows as what they are made of, so that a product reads both as one factor.
  bool narrow_beside = false;
  // True where masks scale a product's result when it is read: SwiGLU scales gate and up, norms and the layer loss the residual stream, and
  // attention's backward pass its gradient. Otherwise the products scale their results.
  bool scales_when_read = false;
  // True where the gradient of attention's operands lies apart from them. Where it overwrites them, a card keeps the queries' gradient
  // until all have read the queries, and then copies it.
  bool attention_gradient_apart = false;
  // True where the log-alphas and their moments stay in the host's memory, which must not wait for the device to update them.
  bool masks_on_host = false;
  int64_t width_multiple = kWidthMultiple;       // the open hidden units and units of a role are padded to a multiple of this
  int64_t least_chunk = 512, most_chunk = 1024;  // the tokens whose logits are made at once

  bool operator==(const StepForm&) const = default;
};

}  // namespace espalier

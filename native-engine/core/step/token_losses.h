// The losses of a step by token: KL to the teacher and next-token cross-entropy.
#pragma once
#include "step/step.h"

namespace espalier {

// Means run over the sequences of all shards.
double batch_of(const PassContext& c, const StepInput& in);

// Runs lm_head of both roles, both softmaxes, the gradient and its product back to the hidden state, a chunk of tokens at a time.
// Leaves d loss / d (student's normed hidden state) in ws.dnorm, where gradients are wanted.
void token_losses(PassContext& c, const StepInput& in, bool gradients);

}  // namespace espalier

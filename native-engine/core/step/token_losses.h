// The losses of a step for each token: KL to the teacher and next-token cross-entropy.
#pragma once
#include "step/step.h"

namespace espalier {

// Returns the number of tokens of all shards, over which means are taken.
double tokens_of(const PassContext& c, const StepInput& in);

// Computes lm_head of both roles, both softmaxes, the gradient and its product back to the hidden state, a chunk of tokens at a time. Where
// gradients are wanted, d loss / d (student's normed hidden state) is left in ws.dnorm.
void token_losses(PassContext& c, const StepInput& in, bool gradients);

}  // namespace espalier

// A student's own weights, which recovery trains in place of LoRA.
#pragma once
#include "espalier/method/train_state.h"

namespace espalier {

// Returns the state with LoRA folded into a copy of the open weights, in f32, and with moments of 0. It computes the same model, to within
// the rounding of the compute dtype. Masks, multipliers and the step stay unchanged. own_embeddings: the copy includes the embedding and
// lm_head, so that they learn too.
TrainState with_own_weights(const ModelWeights& model, const TrainState& state, bool own_embeddings = true);

}  // namespace espalier

// A pruned model in memory: the tensors of a compacted export, without the file.
#pragma once
#include <memory>

#include "espalier/export/export.h"

namespace espalier {

// Returns the open part of the model with the state's LoRA merged and the masks folded in, stored as f32 or bf16. Widths are filled up with
// zeros to whole vectors. Throws what export_model throws for a compacted export.
std::shared_ptr<const ModelWeights> compacted_model(const ModelWeights& model, const TrainState* state, const Masks& masks, DType dtype);

// Returns the model itself where its matrices are stored in this dtype, and otherwise a copy of the whole model in this dtype.
std::shared_ptr<const ModelWeights> stored_as(std::shared_ptr<const ModelWeights> model, DType dtype);

}  // namespace espalier

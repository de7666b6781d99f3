// The size of a model that an export would hold: the one definition of a pruned model's parameters, multiplications and bytes.
#pragma once
#include "espalier/export.h"
#include "export/export_tensors.h"

namespace espalier {

ExportSize size_of(const std::vector<ExportTensor>& tensors, bool tied_embeddings);

// The folders of the request are not looked at. Throws what export_model throws for such an export.
ExportSize export_size(const ModelWeights& model, const Masks& masks, const ExportRequest& request);
ExportSize compacted_size(const ModelWeights& model, const Masks& masks);  // stored as the model is

}  // namespace espalier

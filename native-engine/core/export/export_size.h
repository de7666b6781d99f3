// The size of the model that an export would hold. This is the only definition of a pruned model's parameters, multiplications and bytes.
#pragma once
#include "espalier/export/export.h"
#include "export/export_tensors.h"

namespace espalier {

ExportSize size_of(const std::vector<ExportTensor>& tensors, bool tied_embeddings);

// Ignores the folders of the request. Throws what export_model throws for such an export.
ExportSize export_size(const ModelWeights& model, const Masks& masks, const ExportRequest& request);
ExportSize compacted_size(const ModelWeights& model, const Masks& masks);  // as a compacted export in the model's own dtype

}  // namespace espalier

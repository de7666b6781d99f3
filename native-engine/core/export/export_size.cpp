#include "export/export_size.h"

namespace espalier {

ExportSize size_of(const std::vector<ExportTensor>& tensors, bool tied_embeddings) {
  ExportSize out;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const ExportTensor& t = tensors[i];
    out.parameters += t.elements();
    out.bytes += t.stored_bytes();
    // The first tensor is the embedding, of which a token reads only one row. Where it is also lm_head, tokens are multiplied by it.
    if (!t.vector && (i > 0 || tied_embeddings)) out.multiplications += t.elements();
  }
  return out;
}

ExportSize export_size(const ModelWeights& model, const Masks& masks, const ExportRequest& request) {
  const ExportPlan plan = plan_export(model.config(), masks, request);
  return size_of(export_tensors(model, nullptr, plan, request.dtype), plan.config.tied_embeddings);
}

ExportSize compacted_size(const ModelWeights& model, const Masks& masks) {
  ExportRequest request;
  request.form = ExportForm::kCompacted;
  return export_size(model, masks, request);
}

}  // namespace espalier

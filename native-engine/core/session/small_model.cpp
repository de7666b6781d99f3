// The session's state as a small model: the copy that generates text, and its speed beside the model before pruning.
#include "export/compacted_model.h"
#include "export/export_size.h"
#include "model/weights_digest.h"
#include "session/session_core.h"

namespace espalier {

static DType stored_dtype(ComputeDType dtype) { return dtype == ComputeDType::kF32 ? DType::kF32 : DType::kBF16; }

std::shared_ptr<const ModelWeights> SessionCore::compacted(ComputeDType dtype) {
  if (compacted_ && compacted_dtype_ == dtype) return compacted_;
  compacted_.reset();  // freed first, so that two are never in memory at once
  const auto dense = model_in("");
  const TrainState state = trainer().export_snapshot();
  const Masks masks = deterministic_masks(dense->config(), state);
  compacted_ = compacted_model(*dense, &state, masks, stored_dtype(dtype));
  compacted_dtype_ = dtype;
  return compacted_;
}

// Both models are stored in the compute dtype, so that both read the same number of bytes for each parameter. A pass reads the weights that
// it multiplies by; zeros that fill widths up to whole vectors are not counted.
MeasureResult SessionCore::measure_speed(const MeasureOptions& options, const std::function<void(double)>& on_progress,
                                         const std::atomic<bool>& cancel) {
  const DType dtype = stored_dtype(options.speed.dtype);
  const bool alone = !model_;
  const auto source = model_in(alone ? options.model_folder : "");
  ExportRequest as_is, dense = options.sized_as;
  dense.form = ExportForm::kMasked;
  MeasureResult out{{}, {export_size(*source, {}, dense)}};
  std::vector<ExportSize> measured = {export_size(*source, {}, as_is)};
  std::vector<std::shared_ptr<const ModelWeights>> models = {stored_as(source, dtype)};
  if (alone) {
    // There is no other model to measure beside it.
  } else if (options.model_folder.empty()) {
    const Masks masks = deterministic_masks(source->config(), trainer().log_alphas());
    out.sizes.push_back(export_size(*source, masks, options.sized_as));
    measured.push_back(compacted_size(*source, masks));
    models.push_back(compacted(options.speed.dtype));
  } else {
    const auto other = load_model(options.model_folder);
    measured.push_back(export_size(*other, {}, as_is));
    out.sizes.push_back(measured.back());
    models.push_back(stored_as(other, dtype));
  }
  out.speed = espalier::measure_speed(models, options.speed, on_progress, cancel);
  for (size_t i = 0; i < measured.size(); i++) out.speed.models[i].weight_bytes = measured[i].multiplications * element_bytes(dtype);
  return out;
}

}  // namespace espalier

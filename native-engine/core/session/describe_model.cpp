#include "model/weights_digest.h"
#include "session/session_core.h"

namespace espalier {

ModelDescription describe_model(const ModelWeights& model, bool read_weights, const std::atomic<bool>& cancel) {
  ModelDescription out;
  out.config = model.config();
  out.weight_bytes = model.bytes();
  if (read_weights) out.digest = model.digest(cancel);
  out.dtype = dtype_name(model.embedding().dtype);
  for_each_tensor(model, [&](const std::string&, const WeightView& view) {
    out.parameter_count += static_cast<uint64_t>(view.rows) * static_cast<uint64_t>(view.cols);
  });
  for (int64_t l = 0; l < out.config.layer_count; ++l) {
    for (const WeightView& view : model.layer(l).proj) {
      out.body_parameter_count += static_cast<uint64_t>(view.rows) * static_cast<uint64_t>(view.cols);
    }
  }
  return out;
}

}  // namespace espalier

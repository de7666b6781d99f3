#include "espalier/base/error.h"
#include "session/session_core.h"

namespace espalier {

// Pruning is the first half of the progress.
EvaluationResult SessionCore::evaluate_unstructured(const EvaluateOptions& options, const std::function<void(double)>& on_progress,
                                                    const std::atomic<bool>& cancel) {
  UnstructuredOptions pruning = *options.unstructured;
  if (!data_ && pruning.importance != Importance::kMagnitude) throw Error(ErrorCode::kInvalidArgument, "data", "no training data was set");
  pruning.sequence_length = sequence_length_;
  pruning.backend = options.backend;
  const auto half = [&](double begin) { return [&, begin](double share) { on_progress(begin + share / 2); }; };
  const auto pruned = unstructured_model(model_in(""), data_, pruning, half(0), cancel);
  EvaluationResult result =
      espalier::evaluate(pruned, nullptr, options.ids, options.window, options.dtype, options.backend, half(0.5), cancel);
  result.zero_share = zero_share(*pruned);
  return result;
}

}  // namespace espalier

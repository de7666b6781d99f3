// Single weights set to 0, for comparison with pruned heads and units. The result has the same shapes and is not faster.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "espalier/device.h"
#include "espalier/dtypes.h"
#include "espalier/model_weights.h"
#include "espalier/segment_plan.h"
#include "espalier/token_data.h"

namespace espalier {

struct UnstructuredOptions {
  Importance importance = Importance::kMagnitude;  // kTaylor is refused
  double sparsity = 0.5;                           // share of the weights of each projection, in [0, 1)
  int64_t calibration_sequences = 128;             // rows of the text, each once, in the seed's order; those that there are
  uint64_t seed = 0;
  int64_t sequence_length = 128;
  int64_t batch_size = 8;  // rows at once
  ComputeDType dtype = ComputeDType::kBF16;
  BackendSpec backend;
};

// A copy of the model in its own number formats. kMagnitude takes the smallest weights of each projection. kWanda takes, from each row,
// those that are smallest times the norm of their input on text; layer by layer, each on what the pruned layers before it leave.
// Throws Error(kInvalidArgument | kCancelled).
std::shared_ptr<const ModelWeights> unstructured_model(const std::shared_ptr<const ModelWeights>& model, const TrainingText& text,
                                                       const UnstructuredOptions& options,
                                                       const std::function<void(double share)>& on_progress,
                                                       const std::atomic<bool>& cancel);

// Share of the projections' weights that are 0.
double zero_share(const ModelWeights& model);

}  // namespace espalier

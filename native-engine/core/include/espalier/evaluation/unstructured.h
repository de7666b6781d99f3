// Sets single weights to 0, for comparison with pruned heads and units. The result has the same shapes and is not faster.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "espalier/base/dtypes.h"
#include "espalier/device/device.h"
#include "espalier/method/segment_plan.h"
#include "espalier/model/model_weights.h"
#include "espalier/step/token_data.h"

namespace espalier {

struct UnstructuredOptions {
  Importance importance = Importance::kMagnitude;  // kTaylor and kFisher are refused
  double sparsity = 0.5;                           // the share of the weights of each projection, in [0, 1)
  // Rows of the text, each read once, in the seed's order; if the text has fewer, all of them.
  int64_t calibration_sequences = 128;
  uint64_t seed = 0;
  int64_t sequence_length = 128;
  int64_t batch_size = 8;  // the rows that are computed together
  ComputeDType dtype = ComputeDType::kBF16;
  BackendSpec backend;
};

// Returns a copy of the model in its own number formats. kMagnitude removes the smallest weights of each projection. kWanda removes from
// each row the weights that are smallest after they are multiplied by the norm of their input on the text. It goes layer by layer, and each
// layer sees the outputs of the pruned layers before it. Throws Error(kInvalidArgument | kCancelled).
std::shared_ptr<const ModelWeights> unstructured_model(const std::shared_ptr<const ModelWeights>& model, const TrainingText& text,
                                                       const UnstructuredOptions& options,
                                                       const std::function<void(double share)>& on_progress,
                                                       const std::atomic<bool>& cancel);

// Returns the share of the projections' weights that are 0.
double zero_share(const ModelWeights& model);

}  // namespace espalier

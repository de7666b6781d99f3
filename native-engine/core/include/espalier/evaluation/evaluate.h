// Computes the perplexity of a model on a text.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "espalier/base/dtypes.h"
#include "espalier/device/device.h"
#include "espalier/method/model_masks.h"
#include "espalier/method/train_state.h"
#include "espalier/model/model_weights.h"

namespace espalier {

struct EvaluationResult {
  double negative_log_likelihood = 0;  // the mean in nats for each prediction
  double perplexity = 0;
  int64_t predictions = 0;
  double zero_share = 0;  // the share of the projections' weights that were set to 0 one by one
};

struct DeviceHome;  // in core/training/device_home.h

// Evaluates a model under the deterministic masks and LoRA of `state` (nullptr: the model as it is), over non-overlapping windows, each by
// itself from position 0, in f32 arithmetic (or with bf16 products where `dtype` says so). `beside`: the home of a session on the same
// device, whose steps wait meanwhile; no bit depends on it. A state in the home is evaluated in its place, and then `state` must be
// nullptr.
EvaluationResult evaluate(const std::shared_ptr<const ModelWeights>& model, const TrainState* state, std::span<const uint32_t> ids,
                          int64_t window, ComputeDType dtype, const BackendSpec& backend,
                          const std::function<void(double done_share)>& on_progress, const std::atomic<bool>& cancel,
                          const std::shared_ptr<const DeviceHome>& beside = nullptr);

}  // namespace espalier

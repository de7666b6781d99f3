// Computes the log-likelihoods of texts after a context, which evaluation tasks need by the thousand.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "espalier/base/dtypes.h"
#include "espalier/device/device.h"
#include "espalier/method/train_state.h"

namespace espalier {

struct DeviceHome;  // in core/training/device_home.h

// A sequence whose last `scored` tokens are scored; the tokens before them are their context. All tokens but the last are the model's
// input.
struct ScoredSequence {
  std::span<const uint32_t> ids;
  int64_t scored = 0;

  std::span<const uint32_t> input() const { return ids.first(ids.size() - 1); }
};

struct SequenceScore {
  double log_likelihood = 0;  // the sum over the scored tokens in nats
  bool greedy = false;        // whether each of them is the likeliest token after those before it, and the first among equally likely ones
};

// A model and the memory for passes over it. It lives as long as there are sequences to score.
class Scorer {
 public:
  // Scores with the model under the deterministic masks and LoRA of `state` (without a state: the model as it is), in f32 arithmetic or
  // with bf16 products. `beside` has the meaning that it has in evaluate().
  static std::unique_ptr<Scorer> create(const std::shared_ptr<const ModelWeights>& model, std::optional<TrainState> state,
                                        ComputeDType dtype, const BackendSpec& backend,
                                        const std::shared_ptr<const DeviceHome>& beside = nullptr);
  virtual ~Scorer() = default;

  // Scores the sequences. Where several sequences of one pass begin with the same tokens, these are computed once; nothing is padded. Which
  // sequences are asked for together changes only the last bits of results. An input has at most max_position_embeddings tokens.
  virtual std::vector<SequenceScore> score(std::span<const ScoredSequence> sequences,
                                           const std::function<void(double done_share)>& on_progress, const std::atomic<bool>& cancel) = 0;
};

}  // namespace espalier

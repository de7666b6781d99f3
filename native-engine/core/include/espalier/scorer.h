// Log-likelihoods of texts after a context, as evaluation tasks need them by the thousand.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "espalier/device.h"
#include "espalier/dtypes.h"
#include "espalier/train_state.h"

namespace espalier {

struct DeviceHome;  // core/training/device_home.h

// The last `scored` tokens are scored, and the tokens before them are their context. All but the last token are the model's input.
struct ScoredSequence {
  std::span<const uint32_t> ids;
  int64_t scored = 0;

  std::span<const uint32_t> input() const { return ids.first(ids.size() - 1); }
};

struct SequenceScore {
  double log_likelihood = 0;  // sum over the scored tokens, nats
  bool greedy = false;        // each of them is the likeliest after what stands before it, the first of equally likely ones
};

// A model, and room for passes over it, for as long as there is something to score.
class Scorer {
 public:
  // The model under the deterministic masks and LoRA of `state` (none: as it is), in f32 arithmetic or with bf16 products. `beside` as for
  // evaluate().
  static std::unique_ptr<Scorer> create(const std::shared_ptr<const ModelWeights>& model, std::optional<TrainState> state,
                                        ComputeDType dtype, const BackendSpec& backend,
                                        const std::shared_ptr<const DeviceHome>& beside = nullptr);
  virtual ~Scorer() = default;

  // Tokens that several sequences begin with are computed once where these come into one pass; nothing is padded. Which sequences are asked
  // for together changes results in their last bits only. An input has at most max_position_embeddings tokens.
  virtual std::vector<SequenceScore> score(std::span<const ScoredSequence> sequences,
                                           const std::function<void(double done_share)>& on_progress, const std::atomic<bool>& cancel) = 0;
};

}  // namespace espalier

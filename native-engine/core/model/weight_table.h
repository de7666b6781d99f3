// A table of where a model's tensors lie in memory. The code that finds or makes the tensors fills it in.
#pragma once
#include <mutex>
#include <utility>
#include <vector>

#include "espalier/model/model_weights.h"
#include "model/weights_digest.h"

namespace espalier {

class WeightTable : public ModelWeights {
 public:
  const ModelConfig& config() const final { return config_; }
  const LayerWeights& layer(int64_t index) const final { return layers_.at(static_cast<size_t>(index)); }
  WeightView embedding() const final { return embedding_; }
  WeightView final_norm() const final { return final_norm_; }
  WeightView lm_head() const final { return lm_head_; }
  uint64_t bytes() const final { return weights_bytes(*this); }
  std::string digest(const std::atomic<bool>& cancel) const final {
    std::call_once(digest_once_, [&] { digest_ = weights_digest(*this, cancel); });
    return digest_;
  }

 protected:
  explicit WeightTable(ModelConfig config) : config_(std::move(config)) {}

  const ModelConfig config_;
  WeightView embedding_, final_norm_, lm_head_;
  std::vector<LayerWeights> layers_;

 private:
  mutable std::once_flag digest_once_;
  mutable std::string digest_;
};

}  // namespace espalier

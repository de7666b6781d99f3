// The base weights on a device: uploaded once, or read where they are mapped if the device is the host.
#pragma once
#include <array>
#include <map>
#include <memory>
#include <vector>

#include "device/backend.h"

namespace espalier {

class DeviceModel {
 public:
  DeviceModel(Backend& backend, std::shared_ptr<const ModelWeights> weights);

  const ModelConfig& config() const { return weights_->config(); }
  const ModelWeights& weights() const { return *weights_; }  // on the host
  const StoredMatrix& projection(int64_t layer, Projection p) const { return layers_[layer][p]; }
  const StoredMatrix& embedding() const { return embedding_; }
  const StoredMatrix& lm_head() const { return lm_head_; }

 private:
  StoredMatrix share(Backend& backend, const WeightView& view);

  std::shared_ptr<const ModelWeights> weights_;
  std::map<const void*, DeviceBuffer> shared_;  // by where it lies on the host: a tied head is the embedding
  std::vector<std::array<StoredMatrix, kProjectionCount>> layers_;
  StoredMatrix embedding_, lm_head_;
};

}  // namespace espalier

// The base weights on a device: uploaded once, or streamed layer by layer, or read in their mapping where the device is the host.
#pragma once
#include <array>
#include <map>
#include <memory>
#include <vector>

#include "espalier/device/device.h"
#include "espalier/model/model_config.h"
#include "espalier/model/model_weights.h"
#include "on_device/weight_stream.h"

namespace espalier {

class DeviceModel {
 public:
  // streamed: embedding and lm_head stay on the device, and a layer's projections are there only while its ops run.
  DeviceModel(Backend& backend, std::shared_ptr<const ModelWeights> weights, bool streamed = false);

  const ModelConfig& config() const { return weights_->config(); }
  const ModelWeights& weights() const { return *weights_; }  // in host memory
  // Call `enter` before a layer's ops are queued, and after them `fetch` for the next layer. Weights that stay on the device need neither.
  void enter(int64_t layer) const {
    if (stream_) stream_->enter(layer);
  }
  void fetch(int64_t layer) const {
    if (stream_) stream_->fetch(layer);
  }
  StoredMatrix projection(int64_t layer, Projection p) const { return stream_ ? stream_->projection(layer, p) : layers_[layer][p]; }
  const StoredMatrix& embedding() const { return embedding_; }
  const StoredMatrix& lm_head() const { return lm_head_; }

 private:
  StoredMatrix share(Backend& backend, const WeightView& view);

  std::shared_ptr<const ModelWeights> weights_;
  std::map<const void*, DeviceBuffer> shared_;  // by the address on the host; a tied head is the embedding
  std::vector<std::array<StoredMatrix, kProjectionCount>> layers_;
  std::unique_ptr<WeightStream> stream_;
  StoredMatrix embedding_, lm_head_;
};

// Tells whether the weights leave too little of a device's own memory to stay there beside what an evaluation needs.
bool weights_crowd(const BackendSpec& spec, const ModelWeights& weights);

}  // namespace espalier

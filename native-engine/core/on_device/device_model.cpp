#include "on_device/device_model.h"

#include "device/registry.h"

namespace espalier {

DeviceModel::DeviceModel(Backend& backend, std::shared_ptr<const ModelWeights> weights, bool streamed) : weights_(std::move(weights)) {
  embedding_ = share(backend, weights_->embedding());
  lm_head_ = share(backend, weights_->lm_head());
  if (streamed) {
    stream_ = std::make_unique<WeightStream>(backend, *weights_);
    return;
  }
  for (int64_t l = 0; l < config().layer_count; l++) {
    layers_.emplace_back();
    for (int p = 0; p < kProjectionCount; p++) layers_.back()[p] = share(backend, weights_->layer(l).proj[p]);
  }
}

bool weights_crowd(const BackendSpec& spec, const ModelWeights& weights) {
  const BackendSpec resolved = resolve_backend(spec);
  return kind_of(resolved).has_own_memory() && weights.bytes() > describe_device(resolved).memory_available_bytes / 4 * 3;
}

StoredMatrix DeviceModel::share(Backend& backend, const WeightView& view) {
  if (!view) return {};
  DeviceBuffer& buffer = shared_[view.data];
  if (!buffer.data()) buffer = backend.share(view.data, static_cast<uint64_t>(view.rows * view.cols * dtype_bytes(view.dtype)));
  return {buffer.data(), view.dtype, view.rows, view.cols};
}

}  // namespace espalier

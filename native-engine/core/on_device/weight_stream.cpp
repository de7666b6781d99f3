#include "on_device/weight_stream.h"

#include <algorithm>
#include <cstring>

#include "espalier/base/error.h"

namespace espalier {

namespace {

constexpr uint64_t kAlignment = 256;

uint64_t bytes_of(const WeightView& view) { return static_cast<uint64_t>(view.rows * view.cols * dtype_bytes(view.dtype)); }
uint64_t room_for(const WeightView& view) { return (bytes_of(view) + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

WeightStream::WeightStream(Backend& backend, const ModelWeights& weights) : backend_(backend) {
  uint64_t largest = 0;
  for (int64_t l = 0; l < weights.config().layer_count; l++) {
    Layer& layer = layers_.emplace_back();
    layer.views = weights.layer(l).proj;
    uint64_t bytes = 0;
    for (int p = 0; p < kProjectionCount; p++) {
      layer.at[p] = static_cast<int64_t>(bytes);
      bytes += room_for(layer.views[p]);
    }
    layer.bytes = backend.allocate_host(bytes);
    for (int p = 0; p < kProjectionCount; p++)
      if (const WeightView& view = layer.views[p]) std::memcpy(layer.bytes.data() + layer.at[p], view.data, bytes_of(view));
    largest = std::max(largest, bytes);
  }
  for (size_t i = 0; i < std::min(places_.size(), layers_.size()); i++) places_[i] = backend.allocate(largest);
  backend.copies_wait_for_ops();  // ops clear the new memory first
}

WeightStream::~WeightStream() {
  try {
    backend_.synchronize();
  } catch (const Error&) {  // the last synchronize has reported the failure, or no caller needs to know it
  }
}

int WeightStream::place_of(int64_t layer) const {
  for (int i = 0; i < 2; i++)
    if (layer_in_[i] == layer) return i;
  return kNowhere;
}

void WeightStream::fetch(int64_t layer) {
  if (place_of(layer) != kNowhere) return;
  const int place = at_work_ == 0 ? 1 : 0;
  layer_in_[place] = layer;
  backend_.copy_ahead(places_[place].data(), layers_[layer].bytes);
}

void WeightStream::enter(int64_t layer) {
  fetch(layer);
  const int place = place_of(layer);
  if (place == at_work_) return;
  at_work_ = place;
  backend_.ops_wait_for_copies();
  backend_.copies_wait_for_ops();
}

StoredMatrix WeightStream::projection(int64_t layer, Projection p) const {
  if (at_work_ == kNowhere || layer_in_[at_work_] != layer)
    throw Error(ErrorCode::kInternal, "weights", "layer " + std::to_string(layer) + " is not the one at work");
  const WeightView& view = layers_[layer].views[p];
  if (!view) return {};
  return {places_[at_work_].data() + layers_[layer].at[p], view.dtype, view.rows, view.cols};
}

}  // namespace espalier

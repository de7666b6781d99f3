// Streams weights that do not stay on the device: the projections of two layers are there, and layers take turns. While the ops of one
// layer run, the next layer is copied from host memory that the device reads by itself. The bits are those of weights that stay on the
// device.
#pragma once
#include <array>
#include <vector>

#include "device/backend.h"
#include "espalier/model/model_weights.h"

namespace espalier {

class WeightStream {
 public:
  WeightStream(Backend& backend, const ModelWeights& weights);
  ~WeightStream();  // waits, because a copy may be under way
  WeightStream(const WeightStream&) = delete;
  WeightStream& operator=(const WeightStream&) = delete;

  // Makes this layer the one at work: ops that are queued from now on find its projections, and those of no other layer.
  void enter(int64_t layer);
  // Copies a layer to the place that the layer at work does not use. The ops that shall run meanwhile must be queued before this call: the
  // copy waits for all ops up to the last enter(), and for none after it.
  void fetch(int64_t layer);
  StoredMatrix projection(int64_t layer, Projection p) const;  // throws where the layer is not the one at work

 private:
  static constexpr int kNowhere = -1;
  int place_of(int64_t layer) const;

  struct Layer {
    HostBuffer bytes;
    std::array<WeightView, kProjectionCount> views;  // on the host
    std::array<int64_t, kProjectionCount> at{};      // the place of each projection in `bytes`, where the layer has it
  };
  Backend& backend_;
  std::vector<Layer> layers_;
  std::array<DeviceBuffer, 2> places_;
  std::array<int64_t, 2> layer_in_{kNowhere, kNowhere};
  int at_work_ = kNowhere;  // the place of the layer at work
};

}  // namespace espalier

// Weights that do not stay on the device: the projections of two layers are there, and take turns. While the ops of one layer run, the
// next layer's copy comes from host memory that the device reads by itself. Bits are those of weights that stay.
#pragma once
#include <array>
#include <vector>

#include "device/backend.h"
#include "espalier/model_weights.h"

namespace espalier {

class WeightStream {
 public:
  WeightStream(Backend& backend, const ModelWeights& weights);
  ~WeightStream();  // waits: a copy may be under way
  WeightStream(const WeightStream&) = delete;
  WeightStream& operator=(const WeightStream&) = delete;

  // Ops that are queued from here on find this layer's projections, and no other layer's.
  void enter(int64_t layer);
  // Brings a layer to the place that the layer at work does not use. Queue the ops that run meanwhile before: the copy waits
  // for all ops up to the last enter(), and for none after.
  void fetch(int64_t layer);
  StoredMatrix projection(int64_t layer, Projection p) const;  // throws where the layer is not the one at work

 private:
  static constexpr int kNowhere = -1;
  int place_of(int64_t layer) const;

  struct Layer {
    HostBuffer bytes;
    std::array<WeightView, kProjectionCount> views;  // on the host
    std::array<int64_t, kProjectionCount> at{};      // in `bytes`, of those that there are
  };
  Backend& backend_;
  std::vector<Layer> layers_;
  std::array<DeviceBuffer, 2> places_;
  std::array<int64_t, 2> layer_in_{kNowhere, kNowhere};
  int at_work_ = kNowhere;  // a place
};

}  // namespace espalier

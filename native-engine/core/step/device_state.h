// The trainable state during training. Parameters and Adam's moments lie on the device. The host keeps the scalars and a copy of the
// log-alphas, because it samples the masks.
#pragma once
#include "device/backend.h"
#include "espalier/train_state.h"

namespace espalier {

// Dropout of what LoRA reads in a step; 0: none.
struct LoraDropping {
  double probability = 0;
  uint64_t seed = 0;
  int64_t step = 0;
};

// LoRA's factors on the device, in the layout of a state's LoRA part.
struct DeviceLora {
  const StateLayout* layout = nullptr;  // nullptr: no LoRA
  DevicePtr<const float> params;
  LoraDropping dropping = {};

  explicit operator bool() const { return layout != nullptr; }
};

class DeviceState : public StateScalars {
 public:
  DeviceState(Backend& backend, StateLayout layout);

  void import_state(const TrainState& state);
  TrainState export_state() const;
  TrainState export_snapshot() const;  // without Adam's moments

  const StateLayout& layout() const { return layout_; }
  DeviceLora lora() const { return {&layout_, params(), {}}; }
  LogAlphas log_alphas() const { return {layout_, masks_, shape}; }
  DevicePtr<float> params() const { return memory_.data().as<float>(); }
  DevicePtr<float> adam_m() const { return params() + layout_.size(); }
  DevicePtr<float> adam_v() const { return adam_m() + layout_.size(); }
  // Where the log-alphas' gradient goes: mask_size() floats. It must not change until the queue is empty.
  DevicePtr<float> mask_gradient() const { return adam_v() + layout_.size(); }

  std::span<const float> masks() const { return masks_; }  // all log-alphas, as they lie in the layout
  // After ops changed the log-alphas: waits for them and renews the host's copy.
  void read_log_alphas();
  void write_log_alphas(std::span<const float> masks);

 private:
  Backend* backend_;
  StateLayout layout_;
  DeviceBuffer memory_;
  std::vector<float> masks_;
};

}  // namespace espalier

// The trainable state during training. Parameters and Adam's moments lie on the device. The host keeps the scalars and copies of the values
// from which it makes the student's role: the log-alphas, and the norms and biases among own weights. A device may leave the log-alphas and
// their moments to the host alone (StepForm::masks_on_host). Its own places for them are not used then.
#pragma once
#include "device/backend.h"
#include "espalier/method/train_state.h"
#include "method/sparsity/sparsity.h"

namespace espalier {

// The dropout of LoRA's inputs in a step; a probability of 0 means none.
struct LoraDropping {
  double probability = 0;
  uint64_t seed = 0;
  int64_t step = 0;
};

// LoRA's factors on the device, or the student's own weights, in the layout that a state has before its masks.
struct DeviceLora {
  const StateLayout* layout = nullptr;  // nullptr where only the model's weights are used
  DevicePtr<const float> params;
  LoraDropping dropping = {};

  explicit operator bool() const { return layout != nullptr; }
  bool has_own_weights() const { return layout && layout->has_own_weights(); }
  // Returns one of the student's own weights in the form that a product reads; empty where there is none of that name.
  StoredMatrix own_weight(const std::string& name) const;
};

class DeviceState : public StateScalars {
 public:
  DeviceState(Backend& backend, StateLayout layout, bool masks_on_host = false);

  void import_state(TrainState state);  // frees each part of the state when it is on the device
  void import_state(const StateReader& state);
  TrainState export_state() const;
  TrainState export_snapshot() const;  // without Adam's moments
  StateBytes state_file() const { return {layout_, *this}; }
  // Makes a piece of the file of export_state(), with one copy of the values in place of two.
  void serialize(const StateBytes& file, uint64_t from, std::span<uint8_t> to) const;

  const StateLayout& layout() const { return layout_; }
  DeviceLora lora() const { return {&layout_, params(), {}}; }
  LogAlphas log_alphas() const { return {layout_, masks(), shape}; }
  DevicePtr<float> params() const { return memory_.data().as<float>(); }
  DevicePtr<float> adam_m() const { return params() + layout_.size(); }
  DevicePtr<float> adam_v() const { return adam_m() + layout_.size(); }
  // Returns the place of the log-alphas' gradient: mask_size() floats. It must not change until the queue is empty.
  DevicePtr<float> mask_gradient() const { return adam_v() + layout_.size(); }

  // These return the host's copies of all log-alphas in the order of the layout, and of the vectors of own weights.
  std::span<const float> masks() const { return std::span(host_).last(static_cast<size_t>(layout_.mask_size())); }
  std::span<const float> own_vectors() const { return std::span(host_).first(host_.size() - static_cast<size_t>(layout_.mask_size())); }
  // Returns the expected sparsity of the log-alphas. It is computed when it is first asked for.
  const ExpectedSparsity& expected_sparsity(const ModelConfig& config) const;
  // Call after ops have changed log-alphas or vectors: waits for the ops and renews the host's copies.
  void read_host_copies();
  // Writes the log-alphas; an upload joins the queue where they lie on the device.
  void write_log_alphas(std::span<const float> masks);
  // The log-alphas' moments in the host's memory; empty where they lie on the device.
  struct Moments {
    std::span<float> m, v;
  };
  Moments mask_moments() { return {mask_m_, mask_v_}; }

 private:
  bool masks_on_host() const { return !mask_m_.empty(); }
  void begin_import(const StateLayout& layout, const StateScalars& scalars);
  void put(StateValues values, int64_t offset, std::span<const float> from);

  Backend* backend_;
  StateLayout layout_;
  DeviceBuffer memory_;
  std::vector<float> host_;             // vectors, then log-alphas
  std::vector<float> mask_m_, mask_v_;  // empty where they lie on the device
  bool sent_ = false;                   // true while an upload may still read host_
  mutable std::unique_ptr<const ExpectedSparsity> expected_;
};

}  // namespace espalier

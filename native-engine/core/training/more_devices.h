// The devices that compute shards beside the first one. Each has its own thread, weights, LoRA, teacher and workspace. Only the first
// device has the state with its moments, and makes the update. LoRA comes from it before each step, and the sum of all gradients goes to it
// after the step. Each device passes on one slice of LoRA, and adds up one slice of the gradients. See docs/design/several-cards.md.
#pragma once
#include <memory>
#include <vector>

#include "base/worker_thread.h"
#include "espalier/on_device/trainer_options.h"
#include "training/step_request.h"

namespace espalier {

// The teacher of the first device. `version` changes with it.
struct TeacherOfStep {
  const Role* role = nullptr;
  const HostBuffer* lora = nullptr;  // nullptr for a teacher without LoRA
  int64_t version = 0;
};

class MoreDevices {
 public:
  // Makes no device where one device computes all shards (devices_at_work).
  MoreDevices(const std::shared_ptr<const ModelWeights>& model, const StateLayout& layout, const TrainerOptions& options);
  ~MoreDevices();

  int64_t count() const { return static_cast<int64_t>(devices_.size()); }

  // Starts each device with its part of the shards; the first device's part are the first shards. The first device's queue must be empty,
  // and its LoRA at `params` must stay unchanged until the devices are done.
  void start(const StepRequest& request, const TeacherOfStep& teacher, const Backend& first, DevicePtr<const float> params);
  void settle() noexcept;  // returns when the devices are done, also after a failure
  // Settles at the end of a scope. The devices use what lives in it, also after another device has failed.
  struct Settled {
    MoreDevices& devices;
    ~Settled() { devices.settle(); }
  };
  // Waits, then adds the gradients of all devices, as branches of one tree, into the first place of the first device's workspace.
  std::vector<OtherShards> add_up(PassContext& first);

 private:
  struct Device;
  std::vector<std::unique_ptr<Device>> devices_;
  const StateLayout& layout_;
};

// Returns how many of the devices take part in a step: the largest power of two that divides micro_shards, so that each computes a branch
// of the tree. Only one device computes own weights, and gradients that are added in order.
int64_t devices_at_work(const TrainerOptions& options, bool own_weights);

}  // namespace espalier

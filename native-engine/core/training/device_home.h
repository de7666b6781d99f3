// A device that holds a model's weights, and memory that its run does not use between two steps. An evaluation beside the run uses both, so
// that it takes little more of the device.
#pragma once
#include "on_device/device_model.h"
#include "on_device/device_role.h"
#include "on_device/workspace.h"

namespace espalier {

// The state of a run as an evaluation reads it, without a copy of its parameters. It must not change meanwhile.
struct StateInPlace {
  const StateLayout* layout;
  Role role;
  DevicePtr<const float> params;
};

struct DeviceHome {
  std::shared_ptr<Backend> backend;  // nullptr, as is the model, where only the state is shared: on the host
  std::shared_ptr<const DeviceModel> model;
  std::shared_ptr<const DeviceBuffer> memory;  // nullptr where no memory is reserved
  std::shared_ptr<const StateInPlace> state;   // nullptr where it was not asked for

  bool has_room_for(uint64_t bytes) const { return memory && bytes <= memory->bytes(); }
};

// Returns the home of the run beside the evaluation where that run has this model, and otherwise a home of its own.
DeviceHome home_for(const std::shared_ptr<const ModelWeights>& model, const BackendSpec& spec,
                    const std::shared_ptr<const DeviceHome>& beside);

// Memory for one workspace: that of the home, or its own where the home's is too small.
class WorkspaceMemory {
 public:
  Workspace lay_out(const DeviceHome& home, const LoraSpec& lora, const WorkspaceShape& shape);

 private:
  DeviceBuffer own_;
};

}  // namespace espalier

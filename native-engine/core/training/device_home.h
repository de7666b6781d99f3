// A device that holds a model's weights, and memory that its run does not use between two steps. An evaluation beside the run uses both, so
// that it takes little more of the device.
#pragma once
#include "on_device/device_model.h"
#include "on_device/workspace.h"

namespace espalier {

struct DeviceHome {
  std::shared_ptr<Backend> backend;
  std::shared_ptr<const DeviceModel> model;
  std::shared_ptr<const DeviceBuffer> memory;  // nullptr where no memory is reserved

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

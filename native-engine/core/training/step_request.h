// A step in the form that the host knows. Each device that takes part makes its own input from it.
#pragma once
#include <vector>

#include "step/step.h"

namespace espalier {

struct StepRequest {
  Role student;
  LoraDropping dropping;
  std::vector<int32_t> ids, targets;  // targets: empty where no loss needs them
  std::vector<int32_t> hidden_match;
  LossWeights losses;
  bool taught = false;
  int64_t predictions = 0;
  int64_t shards = 1;
  bool checkpoint = false, timed = false;
};

// Sends the student's lists, the tokens and the targets to the device in one upload. `student` keeps the student's role.
inline StepInput send_request(const StepRequest& r, DeviceLora lora, const DeviceRole& teacher, UploadBlock& block, DeviceRole& student) {
  const auto room = [](const std::vector<int32_t>& list) { return UploadBlock::room_for(list); };
  block.begin(role_room(r.student) + room(r.ids) + room(r.targets) + room(r.hidden_match));
  lora.dropping = r.dropping;
  student = place_role(r.student, lora, block);
  StepInput in;
  in.student = &student;
  in.teacher = r.taught ? &teacher : nullptr;
  in.weights = r.losses;
  in.ids = block.add(r.ids);
  in.targets = block.add(r.targets);
  in.predictions = r.predictions;
  in.hidden_match = block.add(r.hidden_match);
  in.shards = r.shards;
  in.checkpoint = r.checkpoint;
  in.timed = r.timed;
  block.send();
  return in;
}

}  // namespace espalier

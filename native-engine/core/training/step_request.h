// A step as the host knows it. Each device that takes part gets an input of its own from it.
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
  bool in_tree = true, checkpoint = false, timed = false;
};

// One upload brings the student's lists, the tokens and the targets to the device. `student` is where its role is kept.
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
  in.in_tree = r.in_tree;
  in.checkpoint = r.checkpoint;
  in.timed = r.timed;
  block.send();
  return in;
}

}  // namespace espalier

// One step of distillation: forward passes of both roles in lock-step, the losses, and the student's gradients.
#pragma once
#include <vector>

#include "espalier/method/segment_plan.h"
#include "step/layer_pass.h"
#include "step/token_rows.h"

namespace espalier {

// The seconds of each part of a step that is timed.
struct StepTimes {
  double teacher_forward = 0, student_forward = 0, losses = 0, backward = 0, update = 0;
};

struct StepInput {
  const DeviceRole* student = nullptr;
  const DeviceRole* teacher = nullptr;  // nullptr where there is no distillation
  LossWeights weights;
  DevicePtr<const int32_t> ids;           // [B * T]
  DevicePtr<const int32_t> targets;       // [B * T] next tokens, -1 where there is none; used where weights.lm is not 0
  int64_t predictions = 0;                // the number of targets that are tokens, over all shards
  DevicePtr<const int32_t> hidden_match;  // match_hidden(student, teacher); nullptr where all columns are the same
  int64_t shards = 1;                     // the context's batch is that of one shard; B is that of all shards
  bool checkpoint = false;
  bool timed = false;  // true: waits after each part, to measure its time
};

struct StepOutput : StepLosses {
  double loss = 0;              // the weighted sum, without the Lagrangian
  double gradient_squares = 0;  // summed over LoRA's gradient
  Masks grad_z;                 // 0 where a gate is closed
  StepTimes times;
};

// A step computes its sequences in shards. Each shard has gradient sums of its own, and only the number of shards decides how these are
// added. So the bits don't depend on the device of a shard.
//
// run_shards and finish_step are a step in two parts, so that several devices can share the shards. First each device runs an equal part of
// the shards; the number of devices is a power of two. The sum of its gradients then lies in the first place of its workspace: a branch of
// the tree of all shards.
void run_shards(PassContext& c, const StepInput& in, int64_t first, int64_t count, StepTimes& times);
// The results of shards that another device has run.
struct OtherShards {
  int64_t first, count;
  StepResults results;
};
// Then the device that has the sum of all gradients makes the output. The host waits for it only once, to read the results. The LoRA
// gradient stays in the workspace, in the layout of a state's LoRA part.
StepOutput finish_step(PassContext& c, const StepInput& in, const std::vector<OtherShards>& others, const StepTimes& times);

// Returns how many gradients are kept at once while those of `shards` shards are added.
int64_t gradient_places(int64_t shards);

// Returns the step's loss to the bit, by its forward pass alone, without gradients.
double loss_of(PassContext& c, const StepInput& in);

// Evaluation uses these parts of a step, too.
void embed_tokens(PassContext& c, const DeviceRole& role, DevicePtr<const int32_t> ids, Tensor x);
// out = in W^T for the role's open columns of lm_head where `transposed`, and in W otherwise.
void multiply_by_head(PassContext& c, const DeviceRole& role, Tensor out, Tensor in, bool transposed);
// Makes the logits of normed rows h, with the model's cap.
void make_logits(PassContext& c, const DeviceRole& role, Tensor logits, Tensor h);

}  // namespace espalier

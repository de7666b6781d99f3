// One step of distillation: both roles forward in lock-step, the losses, and the student's gradients.
#pragma once
#include <vector>

#include "espalier/segment_plan.h"
#include "step/layer_pass.h"
#include "step/token_rows.h"

namespace espalier {

// Seconds by part, of a step that is timed.
struct StepTimes {
  double teacher_forward = 0, student_forward = 0, losses = 0, backward = 0, update = 0;
};

struct StepInput {
  const DeviceRole* student = nullptr;
  const DeviceRole* teacher = nullptr;  // nullptr: no distillation
  LossWeights weights;
  DevicePtr<const int32_t> ids;           // [B * T]
  DevicePtr<const int32_t> targets;       // [B * T] next token, -1: none; used when weights.lm is not 0
  int64_t predictions = 0;                // targets that are tokens, of all shards
  DevicePtr<const int32_t> hidden_match;  // match_hidden(student, teacher); nullptr: column by column the same
  int64_t shards = 1;                     // the context's batch is a shard's; B is that of all
  bool in_tree = true;                    // their gradients are added in a tree; else one after the other
  bool checkpoint = false;
  bool timed = false;  // waits after each part, to know its time
};

struct StepOutput {
  double loss = 0;  // weighted sum, without the Lagrangian
  double layer_loss = 0, kl_loss = 0, lm_loss = 0;
  double gradient_squares = 0;  // sum over LoRA's gradient
  Masks grad_z;                 // 0 where a gate is closed
  StepTimes times;
};

// The sequences pass by in shards. Each shard's gradients are sums of their own, and the shards' number alone decides how these are added.
// So the bits don't depend on where a shard is computed. Waits for the device once, to read the results. The LoRA gradient stays in the
// workspace, in the layout of a state's LoRA part.
StepOutput run_step(PassContext& c, const StepInput& in);

// The same in two parts, so that several devices share the shards. First each device runs an equal part of them, a power of two of which
// makes all. The sum of its gradients lies in the first place of its workspace then: a branch of the tree of all shards.
void run_shards(PassContext& c, const StepInput& in, int64_t first, int64_t count, StepTimes& times);
// The results of shards that another device has run.
struct OtherShards {
  int64_t first, count;
  StepResults results;
};
// Then one device, where the sum of all gradients is, makes the output.
StepOutput finish_step(PassContext& c, const StepInput& in, const std::vector<OtherShards>& others, const StepTimes& times);

// How many gradients are kept at once while those of `shards` shards are added.
int64_t gradient_places(int64_t shards, bool in_tree);

// The step's loss to the bit, by its forward pass alone: there are no gradients.
double loss_of(PassContext& c, const StepInput& in);

// Pieces that evaluation shares.
void embed_tokens(PassContext& c, const DeviceRole& role, DevicePtr<const int32_t> ids, Tensor x);
// out = in W^T for the role's open columns of lm_head (transposed), or in W.
void multiply_by_head(PassContext& c, const DeviceRole& role, Tensor out, Tensor in, bool transposed);

}  // namespace espalier

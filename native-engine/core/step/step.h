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

// The sequences pass by in shards, one after the other; each shard's gradients are sums of their own, which are added in the shards' order.
// So the bits don't depend on where a shard is computed. Waits for the device once, to read the results. The LoRA gradient stays in the
// workspace, in the layout of a state's LoRA part.
StepOutput run_step(PassContext& c, const StepInput& in);

// The step's loss to the bit, by its forward pass alone: there are no gradients.
double loss_of(PassContext& c, const StepInput& in);

// Pieces that evaluation shares.
void embed_tokens(PassContext& c, const DeviceRole& role, DevicePtr<const int32_t> ids, Tensor x);
// out = in W^T for the role's open columns of lm_head (transposed), or in W.
void multiply_by_head(PassContext& c, const DeviceRole& role, Tensor out, Tensor in, bool transposed);

}  // namespace espalier

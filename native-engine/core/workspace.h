// All memory of a step, laid out once: what each layer keeps for the backward pass, and what is used again and again.
#pragma once
#include <vector>

#include "backend.h"
#include "espalier/trainer.h"

namespace espalier {

// What one decoder layer leaves for its backward pass. Buffers have the widths of the dense layer; shaped() narrows them.
struct LayerActivations {
  Tensor norm1, qkv, heads;                                  // [N, D], [N, q + k + v] as attention's operands, [N, H d]
  Tensor norm2, gate_up;                                     // [N, D], [N, 2 I]
  Tensor qkv_narrow, o_narrow, gate_up_narrow, down_narrow;  // LoRA's x A^T, [N, projections * narrow_width(r)]
  float *rstd1 = nullptr, *rstd2 = nullptr, *lse = nullptr;
};

struct WorkspaceShape {
  int64_t batch = 0, tokens = 0;  // N = batch * tokens
  ComputeDType dtype = ComputeDType::kBF16;
  bool training = true;     // false: a forward pass of one role
  bool checkpoint = false;  // keep layer inputs only
};

struct Workspace {
  // Per layer; with checkpointing all layers share one set and have inputs of their own.
  std::vector<LayerActivations> layers;
  std::vector<Tensor> inputs;      // f32 [N, D], checkpointing only
  std::vector<Tensor> diffs;       // student - teacher after the layer; in the backward pass the gradient there, in compute dtype
  std::vector<float*> layer_dots;  // [D] each
  double* layer_sums = nullptr;    // [L]
  double* head_dots = nullptr;     // [L, H]
  float* unit_dots = nullptr;      // [L, padded I]
  float* hidden_dot = nullptr;     // [padded D]

  Tensor student_x, teacher_x;  // f32 residual streams
  LayerActivations teacher;     // of a role that has no backward pass
  Tensor attention_space;       // f32 [N, q + k + v], where the logits will be
  Tensor units;                 // [N, I] silu(gate) * up; in the backward pass its gradient first
  float* final_rstd = nullptr;

  // Gradients of the residual stream and of a norm's output, f32 [N, D]. dheads and LoRA's dy B lie where the teacher's activations were,
  // all others where that lay of which they are gradients.
  Tensor dx, dnorm;
  float* lora_gradient = nullptr;

  // A chunk of tokens of the losses.
  int64_t chunk = 0;
  Tensor h, logits, dlogits;  // [chunk, D] after the final norm, f32 [chunk, V]; in training student, then teacher; [chunk, V]
  double *kl_rows = nullptr, *lm_rows = nullptr;  // [N]

  uint64_t activation_bytes = 0, scratch_bytes = 0, total_bytes = 0;
};

// With base == nullptr only the sizes are right.
Workspace lay_out_workspace(const ModelConfig& config, const LoraSpec& lora, const WorkspaceShape& shape, char* base);

// Floats of LoRA parameters, and of all trainable parameters with the masks.
int64_t lora_parameter_count(const ModelConfig& config, const LoraSpec& lora);
int64_t mask_parameter_count(const ModelConfig& config);

}  // namespace espalier

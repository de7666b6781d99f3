// All memory of a step, laid out once: the tensors that each layer keeps for the backward pass, and those that are used again and again.
#pragma once
#include <span>
#include <vector>

#include "device/backend.h"
#include "espalier/dtypes.h"
#include "espalier/train_state.h"

namespace espalier {

// The results that one decoder layer leaves for its backward pass. Buffers have the widths of the dense layer; shaped() narrows them.
struct LayerActivations {
  Tensor norm1, qkv, heads;                                  // [N, D], [N, q + k + v] as attention's operands, [N, H d]
  Tensor norm2, gate_up;                                     // [N, D], [N, 2 I]
  Tensor qkv_narrow, o_narrow, gate_up_narrow, down_narrow;  // LoRA's x A^T, [N, projections * narrow_width(r)]
  Tensor normed;                                             // [N, q + k] as HeadNorms leave them; empty: no norms, no backward pass
  Tensor post_attention, post_mlp;  // [N, D] of the norms of what they add to the stream; empty: the model has none
  DevicePtr<float> rstd1, rstd2, lse, head_rstd, post_attention_rstd, post_mlp_rstd;
};

struct WorkspaceShape {
  int64_t batch = 0, tokens = 0;  // N = batch * tokens, of one shard
  int64_t shards = 1;             // of a step
  int64_t gradients = 1;          // places for LoRA's gradients: as many as their sum needs at once
  ComputeDType dtype = ComputeDType::kBF16;
  bool training = true;     // false: a forward pass of one role
  bool checkpoint = false;  // keep layer inputs only
  bool dropout = false;     // of LoRA's inputs
  int64_t own_weights = 0;  // floats of the student's own weights, whose gradients are made in place of LoRA's; 0: LoRA's
  int64_t chunk = 0;        // tokens whose logits are made at once; 0: as suits the losses
};

// The sums of one shard over the rows of its sequences. The host adds the shards up in their order.
struct ShardSums {
  DevicePtr<double> layer_sums;        // [L]
  DevicePtr<double> head_dots;         // [L, H]
  DevicePtr<double> kl_rows, lm_rows;  // [N]
  DevicePtr<float> layer_dots;         // [L, padded D]
  DevicePtr<float> unit_dots;          // [L, padded I]
  DevicePtr<float> hidden_dot;         // [padded D]
  DevicePtr<float> unused_dot;         // [padded D], of norms in front of blocks where there are norms behind them
};

struct Workspace {
  // Per layer; with checkpointing all layers share one set and have inputs of their own.
  std::vector<LayerActivations> layers;
  std::vector<Tensor> inputs;  // f32 [N, D], checkpointing only
  std::vector<Tensor> diffs;   // student - teacher after the layer; in the backward pass the gradient there, in compute dtype

  // The results of a step, in one block that is read once.
  DevicePtr<std::byte> results;
  uint64_t result_bytes = 0, shard_bytes = 0;  // those of the shards lie in front, each as large
  std::vector<ShardSums> shards;
  ShardSums sums;                      // of the shard at work, one of these
  DevicePtr<double> gradient_squares;  // [1], of LoRA's gradient

  Tensor student_x, teacher_x;  // f32 residual streams
  LayerActivations teacher;     // of a role that has no backward pass
  Tensor attention_space;       // f32 [N, q + k + v], where the logits will be
  Tensor addend;                // f32 [N, D], there too: a block's result before it is normed
  Tensor unread;                // [N, D], the stream rounded behind a norm of a block's result; empty without such norms
  Tensor units;                 // [N, I] silu(gate) * up; in the backward pass its gradient first
  Tensor turned;                // dy^T or dlogits^T, for the gradient of a weight of the student's own; empty without such weights
  Tensor dropout_space;         // f32 [N, widest input of a projection]; empty without dropout
  DevicePtr<float> final_rstd;

  // Gradients of the residual stream and of a norm's output, f32 [N, D]. dheads and LoRA's dy B are written over the teacher's activations,
  // every other gradient over the value that it belongs to.
  Tensor dx, dnorm;
  // Places for gradients: the first is the step's, one of them is that of the shard at work. Own weights have one place for both.
  std::vector<DevicePtr<float>> gradients;
  DevicePtr<float> shard_gradient;

  // A chunk of tokens of the losses.
  int64_t chunk = 0;
  Tensor h, logits, dlogits;  // [chunk, D] after the final norm, f32 [chunk, V]; in training student, then teacher; [chunk, V]

  uint64_t activation_bytes = 0, scratch_bytes = 0, total_bytes = 0;
};

// A base of nullptr only counts bytes: the addresses mean nothing then.
Workspace lay_out_workspace(const ModelConfig& config, const LoraSpec& lora, const WorkspaceShape& shape, DevicePtr<std::byte> base);

// Results of the queued ops; they can be read once the queue is empty.
class StepResults {
 public:
  StepResults(Backend& backend, const Workspace& ws);
  // Takes the sums of shards [first, first + count) from those of another device, whose workspace has the same layout.
  void take_shards(const StepResults& other, int64_t first, int64_t count);
  template <class T>
  std::span<const T> at(DevicePtr<T> place, int64_t count) const {
    return {reinterpret_cast<const T*>(bytes_.data() + (place.address() - begin_)), static_cast<size_t>(count)};
  }

 private:
  uint64_t begin_, shard_bytes_;
  std::vector<std::byte> bytes_;
};

// Floats of LoRA parameters, and of all trainable parameters with the masks.
int64_t lora_parameter_count(const ModelConfig& config, const LoraSpec& lora);
int64_t mask_parameter_count(const ModelConfig& config, const BlockGates& gates);

}  // namespace espalier

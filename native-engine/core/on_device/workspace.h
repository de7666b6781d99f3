// All memory of a step, laid out once: the tensors that each layer keeps for its backward pass, and those that all layers use again.
#pragma once
#include <span>
#include <vector>

#include "device/backend.h"
#include "device/step_form.h"
#include "espalier/base/dtypes.h"
#include "espalier/method/train_state.h"

namespace espalier {

// The results that one decoder layer keeps for its backward pass. Buffers have the widths of the dense layer; shaped() narrows them. Where
// a step has LoRA's narrow products beside what they are made of (StepForm), buffers are wider by them, and shaped() places them.
struct LayerActivations {
  Tensor norm1, qkv, heads;                                  // [N, D], [N, q + k + v] as the operands of attention, [N, H d]
  Tensor norm2, gate_up;                                     // [N, D], [N, 2 I]
  Tensor qkv_narrow, o_narrow, gate_up_narrow, down_narrow;  // x A^T of LoRA, [N, projections * narrow_width(r)]
  // [N, q + k] from the norms of heads; empty without such norms or without a backward pass.
  Tensor normed;
  Tensor post_attention, post_mlp;  // [N, D], what the norms behind attention and MLP keep; empty where the model has none
  DevicePtr<float> rstd1, rstd2, lse, head_rstd, post_attention_rstd, post_mlp_rstd;
};

// Devices that share a step send each other slices of gradients. A slice begins at a multiple of this number of floats.
inline constexpr int64_t kSliceMultiple = 64;

struct WorkspaceShape {
  int64_t batch = 0, tokens = 0;  // N = batch * tokens, for one shard
  int64_t shards = 1;             // the shards of a step
  int64_t gradients = 1;          // the places for LoRA's gradients: as many as their sum needs at once
  ComputeDType dtype = ComputeDType::kBF16;
  bool training = true;     // false: only a forward pass of one role
  bool checkpoint = false;  // true: only the inputs of layers are kept
  bool dropout = false;     // true: LoRA's inputs have dropout
  int64_t own_weights = 0;  // the floats of the student's own weights, whose gradients are made in place of LoRA's; 0 where LoRA learns
  int64_t chunk = 0;        // the number of tokens whose logits are made at once; 0: the losses' own number
  StepForm form;            // in training the form that the device asks for
};

// The sums of one shard over the rows of its sequences. The host adds the sums of the shards in their order.
struct ShardSums {
  DevicePtr<double> layer_sums;        // [L]
  DevicePtr<double> head_dots;         // [L, H]
  DevicePtr<double> kl_rows, lm_rows;  // [N]
  DevicePtr<float> layer_dots;         // [L, padded D]
  DevicePtr<float> unit_dots;          // [L, padded I]
  DevicePtr<float> hidden_dot;         // [padded D]
  DevicePtr<float> unused_dot;         // [padded D], for norms in front of blocks in models that also have norms behind blocks
};

struct Workspace {
  StepForm form;
  // One set for each layer. With checkpointing all layers share one set, and each has an input of its own.
  std::vector<LayerActivations> layers;
  std::vector<Tensor> inputs;  // f32 [N, D], only with checkpointing
  // Student - teacher after the layer; the backward pass overwrites it with the gradient there, in compute dtype.
  std::vector<Tensor> diffs;

  // The results of a step, in one block that is read once.
  DevicePtr<std::byte> results;
  uint64_t result_bytes = 0, shard_bytes = 0;  // shard_bytes: the bytes of each shard's sums, which lie in front
  std::vector<ShardSums> shards;
  ShardSums sums;                      // the sums of the shard at work, one of `shards`
  DevicePtr<double> gradient_squares;  // [1], of LoRA's gradient

  Tensor student_x, teacher_x;  // the residual streams in f32
  LayerActivations teacher;     // for a role without a backward pass
  // The columns that norm1, heads, norm2, units, qkv, gate_up and diffs have beside them for the narrow product of a projection; 0 where
  // the narrow products lie elsewhere.
  int64_t beside = 0;
  Tensor dy_narrow;        // [N, 3 narrow_width(r)], dy B of LoRA where dy has no room beside it
  Tensor attention_space;  // f32 [N, q + k + v], in the memory of the logits
  Tensor addend;           // f32 [N, D], in the same memory: a block's result before its norm
  Tensor unread;           // [N, D], the stream that is rounded behind a norm of a block's result; empty without such norms
  Tensor units;            // [N, I] activation(gate) * up; in the backward pass first its gradient
  Tensor turned;           // dy^T or dlogits^T, for the gradient of one of the student's own weights; empty without such weights
  Tensor dropout_space;    // f32 [N, widest input of a projection]; empty without dropout
  DevicePtr<float> final_rstd;

  // The gradients of the residual stream and of a norm's output, f32 [N, D]. dheads, LoRA's dy B and, where the form says so, dqkv
  // overwrite the teacher's activations, and every other gradient overwrites the value that it belongs to.
  Tensor dx, dnorm;
  // The places for gradients. The first is the step's; shard_gradient is that of the shard at work. Own weights have one place for both.
  // The second one also has room for a slice of each other device's gradient, with its multiple.
  std::vector<DevicePtr<float>> gradients;
  DevicePtr<float> shard_gradient;

  // The buffers of the losses, for one chunk of tokens.
  int64_t chunk = 0;
  Tensor h, logits, dlogits;  // [chunk, D] after the final norm; f32 [chunk, V], in training the student's, then the teacher's; [chunk, V]

  uint64_t activation_bytes = 0, scratch_bytes = 0, total_bytes = 0;
};

// Lays the workspace out from `base` on. With a nullptr it only counts bytes, and the addresses mean nothing.
Workspace lay_out_workspace(const ModelConfig& config, const LoraSpec& lora, const WorkspaceShape& shape, DevicePtr<std::byte> base);

// The results of the queued ops. They can be read when the queue is empty.
class StepResults {
 public:
  StepResults(Backend& backend, const Workspace& ws);
  // Takes the sums of shards [first, first + count) from another device, whose workspace has the same layout.
  void take_shards(const StepResults& other, int64_t first, int64_t count);
  template <class T>
  std::span<const T> at(DevicePtr<T> place, int64_t count) const {
    return {reinterpret_cast<const T*>(bytes_.data() + (place.address() - begin_)), static_cast<size_t>(count)};
  }

 private:
  uint64_t begin_, shard_bytes_;
  std::vector<std::byte> bytes_;
};

// These return the floats of LoRA's parameters, and those of the masks.
int64_t lora_parameter_count(const ModelConfig& config, const LoraSpec& lora);
int64_t mask_parameter_count(const ModelConfig& config, const BlockGates& gates);

}  // namespace espalier

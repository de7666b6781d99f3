// One decoder layer, forward and backward, for any role.
#pragma once
#include <functional>
#include <vector>

#include "on_device/device_model.h"
#include "on_device/device_role.h"
#include "on_device/workspace.h"
#include "step/rope.h"

namespace espalier {

// Sequences that go on from one another's rows (PathAttention) instead of rows of a batch. 0 pieces: the pass has none.
struct PassPaths {
  int64_t pieces = 0, longest = 0;
  DevicePtr<const int32_t> bounds, path;
  int64_t path_size = 0;
};

// A table of the rotary embedding: [tokens, d / 2]. Empty: the model has no such table.
struct RopePlaces {
  DevicePtr<const float> cos, sin;
};
// Adds the tables to what a block uploads; `room` counts their bytes.
uint64_t rope_room(const RopeTables& tables);
struct PassContext;
void place_rope(PassContext& c, const RopeTables& tables, UploadBlock& block);

// The inputs of every pass, which no pass changes.
struct PassContext {
  Backend* backend = nullptr;
  const DeviceModel* model = nullptr;
  Workspace* ws = nullptr;
  DType dtype = DType::kBF16;     // compute dtype
  int64_t batch = 0, tokens = 0;  // of one shard of a step
  int64_t first_row = 0;          // rows of the step before the shard
  DeviceBuffer rope;              // the tables
  RopePlaces usual_rope, local_rope;
  PassPaths paths;        // forward only
  bool by_shape = false;  // products may sum in an order of their shape (Product::by_shape)

  int64_t rows() const { return batch * tokens; }
  const ModelConfig& config() const { return model->config(); }
};

PassContext make_pass_context(Backend& backend, const DeviceModel& model, Workspace& ws, ComputeDType dtype, int64_t batch, int64_t tokens);

// Rows of the residual stream normed to the compute dtype; rstd may be nullptr.
void norm_forward(PassContext& c, Tensor x, Tensor out, DevicePtr<float> rstd, DevicePtr<const float> weight);

// x (f32 [N, hidden_width]) becomes the layer's output. `keep`: fill what the backward pass needs (lse).
void forward_layer(PassContext& c, const DeviceRole& role, int64_t layer, Tensor x, const LayerActivations& buffers, bool keep);

// The part of a layer that ends with o_proj, and the one that ends with down_proj.
enum class Half { kAttention, kMlp };
// Such a part alone, which keeps nothing. Its projection's inputs are in `buffers.heads` or the workspace's units then.
void forward_half(PassContext& c, const DeviceRole& role, int64_t layer, Half half, Tensor x, const LayerActivations& buffers);

// All layers of a pass that keeps nothing.
void forward_layers(PassContext& c, const DeviceRole& role, Tensor x, const LayerActivations& buffers);

// Makes the outputs of a layer's heads from attention's operands.
using Attend =
    std::function<void(const AttentionShape& shape, const Tensor& operands, const Tensor& out, DevicePtr<const float> head_scale)>;
// The same with another attention than that of whole sequences.
void forward_layer(PassContext& c, const DeviceRole& role, int64_t layer, Tensor x, const LayerActivations& buffers, const Attend& attend);

// The layer loss of the layer below. Its gradient, difference * scale, is added to the gradient of this layer's input.
struct LowerLoss {
  Tensor diff;  // empty: none
  float scale = 0;
};

// ws.dx: the gradient of the layer's output on entry, of its input on return, the lower layer's loss added. dx_compute: the same times
// the hidden mask and the model's multiplier, rounded to the compute dtype; it comes out in `space` [N, D], where the loss's diff may lie.
// Fills this layer's part of the mask sums and of the LoRA gradient; what the layer kept is gone.
void backward_layer(PassContext& c, const DeviceRole& role, int64_t layer, const LayerActivations& buffers, const LowerLoss& loss,
                    Tensor& dx_compute, Tensor space);

}  // namespace espalier

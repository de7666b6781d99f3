// One decoder layer, forward and backward, for any role.
#pragma once
#include <functional>
#include <vector>

#include "on_device/device_model.h"
#include "on_device/device_role.h"
#include "on_device/workspace.h"
#include "step/rope.h"

namespace espalier {

// The sequences of a pass that continue one another's rows (PathAttention), instead of rows of a batch. 0 pieces: the pass has none.
struct PassPaths {
  int64_t pieces = 0, longest = 0;
  DevicePtr<const int32_t> bounds, path;
  int64_t path_size = 0;
};

// A table of the rotary embedding, [tokens, d / 2]; empty where the model has no such table.
struct RopePlaces {
  DevicePtr<const float> cos, sin;
};
// place_rope adds the tables to an upload; rope_room counts their bytes.
uint64_t rope_room(const RopeTables& tables);
struct PassContext;
void place_rope(PassContext& c, const RopeTables& tables, UploadBlock& block);

// The inputs of every pass. No pass changes them.
struct PassContext {
  Backend* backend = nullptr;
  const DeviceModel* model = nullptr;
  Workspace* ws = nullptr;
  DType dtype = DType::kBF16;     // the compute dtype
  int64_t batch = 0, tokens = 0;  // the shape of one shard of a step
  int64_t first_row = 0;          // the rows of the step before the shard
  DeviceBuffer rope;              // holds the tables
  RopePlaces usual_rope, local_rope;
  PassPaths paths;  // only in forward passes
  // The slope of a unit's mask is that along the unit's output. A mask multiplies gate and up, so the usual slope counts a unit twice.
  bool rates_units = false;
  bool by_shape = false;  // products may sum in an order that depends on their shape (Product::by_shape)

  int64_t rows() const { return batch * tokens; }
  const ModelConfig& config() const { return model->config(); }
};

PassContext make_pass_context(Backend& backend, const DeviceModel& model, Workspace& ws, ComputeDType dtype, int64_t batch, int64_t tokens);

// Norms rows of a role's residual stream and rounds them to the compute dtype; rstd may be nullptr.
void norm_forward(PassContext& c, const DeviceRole& role, Tensor x, Tensor out, DevicePtr<float> rstd, DevicePtr<const float> weight);

// Computes a layer: x (f32 [N, hidden_width]) becomes its output. `keep`: also keep what the backward pass needs (lse).
void forward_layer(PassContext& c, const DeviceRole& role, int64_t layer, Tensor x, const LayerActivations& buffers, bool keep);

// The part of a layer that ends with o_proj, and the one that ends with down_proj.
enum class Half { kAttention, kMlp };
// Computes one such part and keeps nothing for a backward pass. Afterwards the inputs of its last projection lie in `buffers.heads`, or in
// the workspace's units.
void forward_half(PassContext& c, const DeviceRole& role, int64_t layer, Half half, Tensor x, const LayerActivations& buffers);

// Computes all layers of a pass that keeps nothing.
void forward_layers(PassContext& c, const DeviceRole& role, Tensor x, const LayerActivations& buffers);

// A function that makes the outputs of a layer's heads from attention's operands.
using Attend =
    std::function<void(const AttentionShape& shape, const Tensor& operands, const Tensor& out, DevicePtr<const float> head_scale)>;
// Computes a layer with another attention than that of whole sequences.
void forward_layer(PassContext& c, const DeviceRole& role, int64_t layer, Tensor x, const LayerActivations& buffers, const Attend& attend);

// The layer loss of the layer below. Its gradient, diff * scale, is added to the gradient of this layer's input.
struct LowerLoss {
  Tensor diff;  // empty where there is none
  float scale = 0;
};

// Computes the gradients of a layer. ws.dx holds the gradient of the layer's output on entry and that of its input on return, including the
// lower layer's loss. dx_compute is the same times the hidden mask and the model's multiplier, rounded to the compute dtype; on return it
// lies in `space`, from with_room, where the loss's diff may lie. Fills this layer's part of the mask sums and of the LoRA gradient, and
// overwrites what the layer kept.
void backward_layer(PassContext& c, const DeviceRole& role, int64_t layer, const LayerActivations& buffers, const LowerLoss& loss,
                    Tensor& dx_compute, Tensor space);

}  // namespace espalier

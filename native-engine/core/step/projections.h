// The projections of one layer for one role: the open part of the stored weights, read in place, and LoRA beside it. W x + s B (A x) is one
// product with `rank` more columns. No weight is rounded or copied for a mask or for LoRA.
#pragma once
#include <array>

#include "step/layer_pass.h"

namespace espalier {

struct OpenProjection {
  Selection weight;  // [out, in]
  bool lora = false;
  Selection a, b;  // [narrow_width(rank), in] and [out, narrow_width(rank)], not scaled
  DevicePtr<float> da, db;
  Tensor own_gradient;  // the gradient of one of the student's own weights in its stored form; empty where the weight is the model's
  int64_t in_full = 0, out_full = 0;
  int slot = 0;        // its place among the group's projections with LoRA
  int64_t number = 0;  // its number in the model, whose layers have kProjectionCount each
};

// Up to three projections of one input.
struct ProjectionGroup {
  std::array<OpenProjection, 3> parts;
  int count = 0, lora_count = 0;
  int64_t rank = 0;  // the rank of LoRA
  float lora_scale = 0;
  bool by_shape = false;
  DeviceLora lora;
  DevicePtr<const int32_t> cols;  // the open columns of the input

  // Returns the narrow products of the group in a buffer [N, at most 3 * narrow_width(rank)]. They are dense in a dense buffer.
  Tensor narrow(Tensor buffer) const {
    const int64_t width = lora_count * narrow_width(rank);
    return buffer.stride == buffer.cols ? buffer.reshaped(buffer.rows, width) : buffer.columns(0, width);
  }
  Tensor narrow(Tensor buffer, const OpenProjection& p) const {
    return narrow(buffer).columns(p.slot * narrow_width(rank), narrow_width(rank));
  }
};

ProjectionGroup open_group(PassContext& c, const DeviceRole& role, int64_t layer, Projection first, int count);

enum class Pass { kForward, kBackward };
// Computes LoRA's narrow products of the group: forward x A^T of the one x, backward dy B of each part's own dy. Does nothing without LoRA.
void make_narrow(PassContext& c, const ProjectionGroup& group, Pass pass, const std::array<Tensor, 3>& from, Tensor narrow);

// Returns LoRA's input with dropout. It lies in the workspace's space until the next call.
Tensor dropped_input(PassContext& c, const ProjectionGroup& group, const OpenProjection& p, Tensor x);

// Returns the forward product of one projection.
Product forward_product(const ProjectionGroup& group, int part, Tensor x, Tensor x_narrow);

// Computes the gradient of the group's input, times column_scale, into dx. lora_gradients computes dA and dB.
void input_gradient(PassContext& c, const ProjectionGroup& group, const std::array<Tensor, 3>& dy, Tensor dy_narrow, Tensor dx,
                    DevicePtr<const float> column_scale);
// Computes the gradients of own weights or of LoRA, whichever the group has.
void weight_gradients(PassContext& c, const ProjectionGroup& group, Tensor x, Tensor x_narrow, const std::array<Tensor, 3>& dy,
                      Tensor dy_narrow);
// Returns the place for the gradient of one of the student's own weights, for the shard at work; empty where the student has no such
// weight.
Tensor own_gradient(const Workspace& ws, const StateLayout& layout, const std::string& name);
// Returns the same for a norm or a bias; nullptr where the model has none or no gradient is wanted.
DevicePtr<float> own_vector_gradient(const Workspace& ws, const DeviceLora& lora, const std::string& name);
// Adds dy^T x, the gradient of a matrix y = W x of the student's own, to `gradient`. x must be dense.
void add_own_gradient(PassContext& c, Tensor gradient, Tensor x, Tensor dy);
void lora_gradients(PassContext& c, const ProjectionGroup& group, Tensor x, Tensor x_narrow, const std::array<Tensor, 3>& dy,
                    Tensor dy_narrow);

}  // namespace espalier

// The buffers of the workspace in the shapes that a pass of a role has them in.
#pragma once
#include "step/layer_pass.h"

namespace espalier {

// Returns the pass's rows of a buffer, with `width` columns. LoRA's narrow products of `projections` have room beside them, where the
// workspace has such room.
Tensor with_room(const PassContext& c, const Tensor& buffer, int64_t width, int64_t projections);
// Returns the room beside a tensor from with_room, or the rows of `otherwise` where it has none.
Tensor narrow_of(const PassContext& c, const Tensor& wide, const Tensor& otherwise);
// Returns a layer's buffers as the passes of a role have them.
LayerActivations shaped(const PassContext& c, const DeviceRole& role, int64_t layer, LayerActivations buffers);
// Returns the input of down_proj as the passes of a role have it.
Tensor shaped_units(const PassContext& c, const DeviceRole& role, int64_t layer);

}  // namespace espalier

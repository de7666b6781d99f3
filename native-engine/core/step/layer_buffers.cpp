#include "step/layer_buffers.h"

namespace espalier {

Tensor with_room(const PassContext& c, const Tensor& buffer, int64_t width, int64_t projections) {
  Tensor t = buffer.reshaped(c.rows(), width);
  t.stride += projections * c.ws->beside;
  return t;
}

Tensor narrow_of(const PassContext& c, const Tensor& wide, const Tensor& otherwise) {
  if (wide.stride == wide.cols) return otherwise.reshaped(c.rows(), otherwise.cols);
  return {wide.data + wide.cols * dtype_bytes(wide.dtype), wide.dtype, wide.rows, wide.stride - wide.cols, wide.stride};
}

LayerActivations shaped(const PassContext& c, const DeviceRole& role, int64_t layer, LayerActivations a) {
  const RoleLayer& r = role.layers[layer];
  const int64_t n = c.rows();
  a.norm1 = with_room(c, a.norm1, role.hidden_width, 3);
  a.qkv = with_room(c, a.qkv, r.qkv_width(), 3);
  if (a.normed) a.normed = a.normed.reshaped(n, r.head_width + r.kv_width);
  a.heads = with_room(c, a.heads, r.head_width, 1);
  a.norm2 = with_room(c, a.norm2, role.hidden_width, 2);
  a.gate_up = with_room(c, a.gate_up, 2 * r.unit_width, 2);
  for (Tensor* t : {&a.post_attention, &a.post_mlp})
    if (*t) *t = t->reshaped(n, role.hidden_width);
  a.qkv_narrow = narrow_of(c, a.norm1, a.qkv_narrow);
  a.o_narrow = narrow_of(c, a.heads, a.o_narrow);
  a.gate_up_narrow = narrow_of(c, a.norm2, a.gate_up_narrow);
  a.down_narrow = a.down_narrow.reshaped(n, a.down_narrow.cols);
  return a;
}

Tensor shaped_units(const PassContext& c, const DeviceRole& role, int64_t layer) {
  return with_room(c, c.ws->units, role.layers[layer].unit_width, 1);
}

}  // namespace espalier

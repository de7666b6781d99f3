#include "layer_weights.h"

namespace espalier {

ProjectionMap projection_map(Backend& b, const Role& role, int64_t layer, Projection p) {
  const RoleLayer& r = role.layers[layer];
  const int32_t* hidden_cols = role.hidden_all ? nullptr : b.stage(role.hidden_index);
  const int32_t* head_cols = r.heads_all ? nullptr : b.stage(r.q_rows);
  const int32_t* unit_cols = r.units_all ? nullptr : b.stage(r.unit_index);
  switch (p) {
    case kQ:
      return {b.stage(r.q_rows), hidden_cols, nullptr, nullptr, r.head_width, role.hidden_width};
    case kK:
    case kV:
      return {b.stage(r.kv_rows), hidden_cols, nullptr, nullptr, r.kv_width, role.hidden_width};
    case kO:
      return {b.stage(role.hidden_index), head_cols, b.stage(role.hidden_scale), b.stage(r.head_scale), role.hidden_width, r.head_width};
    case kDown:
      return {b.stage(role.hidden_index), unit_cols, b.stage(role.hidden_scale), nullptr, role.hidden_width, r.unit_width};
    default:
      return {b.stage(r.unit_index), hidden_cols, b.stage(r.unit_scale), nullptr, r.unit_width, role.hidden_width};
  }
}

namespace {

GatherWeights gather_of(PassContext& c, const Role& role, int64_t layer, Projection p, Tensor out) {
  const ProjectionMap map = projection_map(*c.backend, role, layer, p);
  GatherWeights op;
  op.out = out;
  op.weight = c.model->layer(layer).proj[p];
  op.rows = map.rows;
  op.cols = map.cols;
  op.row_scale = map.row_scale;
  op.col_scale = map.col_scale;
  if (role.lora && role.lora->lora_a(layer, p)) {
    op.lora_a = role.lora->params().data() + role.lora->lora_a(layer, p)->offset;
    op.lora_b = role.lora->params().data() + role.lora->lora_b(layer, p)->offset;
    op.rank = role.lora->lora().rank;
    op.lora_scale = static_cast<float>(role.lora->lora().scale());
  }
  return op;
}

Tensor tensor_of(const WeightView& w) { return {const_cast<void*>(w.data), w.dtype, w.rows, w.cols, w.cols}; }

// Whether the intact model's own matrices can be multiplied as they are.
bool usable(const PassContext& c, const WeightView& w) {
  return w.dtype == c.dtype && reinterpret_cast<uintptr_t>(w.data) % dtype_bytes(w.dtype) == 0;
}

}  // namespace

void prepare_attention(PassContext& c, const Role& role, int64_t layer, LayerProducts& out) {
  const RoleLayer& r = role.layers[layer];
  const LayerWeights& w = c.model->layer(layer);
  const int64_t kv_cols = static_cast<int64_t>(r.kv_heads) * c.config().head_dim;
  const bool direct = role.intact && role.hidden_all && r.heads_all && kv_cols == r.kv_width && r.kv_width == w.proj[kK].rows &&
                      usable(c, w.proj[kQ]) && usable(c, w.proj[kK]) && usable(c, w.proj[kV]) && usable(c, w.proj[kO]);
  const int64_t columns[3] = {0, r.head_width, r.head_width + r.kv_width};
  const int64_t widths[3] = {r.head_width, r.kv_width, r.kv_width};
  if (direct) {
    for (int p = kQ; p <= kV; p++) out.qkv[p] = {tensor_of(w.proj[p]), columns[p]};
    out.qkv_count = 3;
    out.o = tensor_of(w.proj[kO]);
    return;
  }
  const Tensor qkv = c.ws->w_qkv.reshaped(r.qkv_width(), role.hidden_width);
  out.o = c.ws->w_o.reshaped(role.hidden_width, r.head_width);
  const auto part = [&](Projection p) { return gather_of(c, role, layer, p, qkv.row_range(columns[p], widths[p])); };
  const std::array<GatherWeights, 4> gathers{part(kQ), part(kK), part(kV), gather_of(c, role, layer, kO, out.o)};
  c.backend->gather_weights(gathers);
  out.qkv[0] = {qkv, 0};
  out.qkv_count = 1;
}

void prepare_mlp(PassContext& c, const Role& role, int64_t layer, LayerProducts& out) {
  const RoleLayer& r = role.layers[layer];
  const LayerWeights& w = c.model->layer(layer);
  const bool direct = role.intact && role.hidden_all && r.units_all && usable(c, w.proj[kGate]) && usable(c, w.proj[kUp]) &&
                      usable(c, w.proj[kDown]);
  if (direct) {
    out.gate_up = {ProductPart{tensor_of(w.proj[kGate]), 0}, ProductPart{tensor_of(w.proj[kUp]), r.unit_width}};
    out.gate_up_count = 2;
    out.down = tensor_of(w.proj[kDown]);
    return;
  }
  const Tensor gate_up = c.ws->w_gate_up.reshaped(2 * r.unit_width, role.hidden_width);
  out.down = c.ws->w_down.reshaped(role.hidden_width, r.unit_width);
  const std::array<GatherWeights, 3> gathers{gather_of(c, role, layer, kGate, gate_up.row_range(0, r.unit_width)),
                                             gather_of(c, role, layer, kUp, gate_up.row_range(r.unit_width, r.unit_width)),
                                             gather_of(c, role, layer, kDown, out.down)};
  c.backend->gather_weights(gathers);
  out.gate_up[0] = {gate_up, 0};
  out.gate_up_count = 1;
}

}  // namespace espalier

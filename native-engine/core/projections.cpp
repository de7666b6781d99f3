#include "projections.h"

namespace espalier {

namespace {

// Which rows and columns of a projection's matrix are open.
Selection open_weight(PassContext& c, const Role& role, int64_t layer, Projection p) {
  const RoleLayer& r = role.layers[layer];
  Backend& b = *c.backend;
  const int32_t* hidden = role.hidden_all ? nullptr : b.stage(role.hidden_index);
  const int32_t* heads = r.heads_all ? nullptr : b.stage(r.q_rows);
  const int32_t* kv = r.kv_all ? nullptr : b.stage(r.kv_rows);
  const int32_t* units = r.units_all ? nullptr : b.stage(r.unit_index);
  const WeightView& stored = c.model->layer(layer).proj[p];
  switch (p) {
    case kQ:
      return {stored, r.head_width, role.hidden_width, heads, hidden};
    case kK:
    case kV:
      return {stored, r.kv_width, role.hidden_width, kv, hidden};
    case kO:
      return {stored, role.hidden_width, r.head_width, hidden, heads};
    case kDown:
      return {stored, role.hidden_width, r.unit_width, hidden, units};
    default:
      return {stored, r.unit_width, role.hidden_width, units, hidden};
  }
}

Selection scaled(Selection s, float scale) {
  s.scale = scale;
  return s;
}

// LoRA's factors have the open rows and columns of their weight.
void add_lora(PassContext& c, const TrainState& state, int64_t layer, Projection p, ProjectionGroup& group, OpenProjection& out) {
  const TrainState::Entry *a = state.lora_a(layer, p), *b = state.lora_b(layer, p);
  if (!a) return;
  const Selection& w = out.weight;
  const float* params = state.params().data();
  out.lora = true;
  out.slot = group.lora_count++;
  out.in_full = a->shape[1];
  const int64_t width = narrow_width(group.rank);
  out.a = {{params + a->offset, DType::kF32, group.rank, a->shape[1]}, width, w.cols, nullptr, w.col_index};
  out.b = {{params + b->offset, DType::kF32, b->shape[0], group.rank}, w.rows, width, w.row_index, nullptr};
  if (!c.ws->lora_gradient) return;
  out.da = c.ws->lora_gradient + a->offset;
  out.db = c.ws->lora_gradient + b->offset;
}

}  // namespace

ProjectionGroup open_group(PassContext& c, const Role& role, int64_t layer, Projection first, int count) {
  ProjectionGroup group;
  group.count = count;
  if (role.lora) {
    group.rank = role.lora->lora().rank;
    group.lora_scale = static_cast<float>(role.lora->lora().scale());
  }
  for (int i = 0; i < count; i++) {
    const auto p = static_cast<Projection>(first + i);
    group.parts[i].weight = open_weight(c, role, layer, p);
    if (role.lora) add_lora(c, *role.lora, layer, p, group, group.parts[i]);
  }
  group.cols = group.parts[0].weight.col_index;
  return group;
}

void make_narrow(PassContext& c, const ProjectionGroup& group, Pass pass, const std::array<Tensor, 3>& from, Tensor narrow) {
  if (group.lora_count == 0) return;
  const bool forward = pass == Pass::kForward;
  LoraNarrow op{group.narrow(narrow), group.rank, forward, 0, {}};
  for (int i = 0; i < group.count; i++)
    if (const OpenProjection& p = group.parts[i]; p.lora)
      op.terms[op.count++] = forward ? ProductTerm{from[0], p.a} : ProductTerm{from[i], p.b};
  c.backend->lora_narrow(op);
}

Product forward_product(const ProjectionGroup& group, int part, Tensor x, Tensor x_narrow) {
  const OpenProjection& p = group.parts[part];
  Product op;
  op.transposed = true;
  op.add(x, p.weight);
  if (p.lora) op.add(group.narrow(x_narrow, p), scaled(p.b, group.lora_scale));
  return op;
}

Product backward_product(const ProjectionGroup& group, const std::array<Tensor, 3>& dy, Tensor dy_narrow) {
  Product op;
  for (int i = 0; i < group.count; i++) op.add(dy[i], group.parts[i].weight);
  for (int i = 0; i < group.count; i++)
    if (const OpenProjection& p = group.parts[i]; p.lora) op.add(group.narrow(dy_narrow, p), scaled(p.a, group.lora_scale));
  return op;
}

void lora_gradients(PassContext& c, const ProjectionGroup& group, Tensor x, Tensor x_narrow, const std::array<Tensor, 3>& dy,
                    Tensor dy_narrow) {
  if (group.lora_count == 0) return;
  LoraGradient op;
  op.x = x;
  op.x_narrow = group.narrow(x_narrow);
  op.dy_narrow = group.narrow(dy_narrow);
  op.cols = group.cols;
  op.rank = group.rank;
  op.lora_scale = group.lora_scale;
  for (int i = 0; i < group.count; i++) {
    const OpenProjection& p = group.parts[i];
    if (!p.lora) continue;
    op.in_full = p.in_full;
    op.outputs[op.count++] = {dy[i], p.weight.row_index, p.da, p.db};
  }
  c.backend->lora_gradient(op);
}

}  // namespace espalier

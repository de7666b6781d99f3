#include "step/projections.h"

namespace espalier {

namespace {

// Which rows and columns of a projection's matrix are open.
Selection open_weight(PassContext& c, const DeviceRole& role, int64_t layer, Projection p) {
  const RoleLayer& r = role.layers[layer];
  const RoleLayerLists& lists = role.lists.layers[layer];
  const int64_t hidden = role.hidden_width;
  const StoredMatrix stored = c.model->projection(layer, p);
  switch (p) {
    case kQ:
      return {stored, r.head_width, hidden, lists.q_rows, role.lists.hidden_index};
    case kK:
    case kV:
      return {stored, r.kv_width, hidden, lists.kv_rows, role.lists.hidden_index};
    case kO:
      return {stored, hidden, r.head_width, role.lists.hidden_index, lists.q_rows};
    case kDown:
      return {stored, hidden, r.unit_width, role.lists.hidden_index, lists.unit_index};
    default:
      return {stored, r.unit_width, hidden, lists.unit_index, role.lists.hidden_index};
  }
}

Selection scaled(Selection s, float scale) {
  s.scale = scale;
  return s;
}

// LoRA's factors have the open rows and columns of their weight.
void add_lora(PassContext& c, const DeviceLora& lora, int64_t layer, Projection p, ProjectionGroup& group, OpenProjection& out) {
  const StateLayout::Entry *a = lora.layout->lora_a(layer, p), *b = lora.layout->lora_b(layer, p);
  if (!a) return;
  const Selection& w = out.weight;
  const auto factor = [&](const StateLayout::Entry& e) {
    return StoredMatrix{(lora.params + e.offset).as<const std::byte>(), DType::kF32, e.shape[0], e.shape[1]};
  };
  out.lora = true;
  out.slot = group.lora_count++;
  out.in_full = a->shape[1];
  out.out_full = b->shape[0];
  const int64_t width = narrow_width(group.rank);
  out.a = {factor(*a), width, w.cols, nullptr, w.col_index};
  out.b = {factor(*b), w.rows, width, w.row_index, nullptr};
  if (!c.ws->shard_gradient) return;
  out.da = c.ws->shard_gradient + a->offset;
  out.db = c.ws->shard_gradient + b->offset;
}

}  // namespace

ProjectionGroup open_group(PassContext& c, const DeviceRole& role, int64_t layer, Projection first, int count) {
  ProjectionGroup group;
  group.count = count;
  group.by_shape = c.by_shape;
  if (role.lora) {
    group.rank = role.lora.layout->lora().rank;
    group.lora_scale = static_cast<float>(role.lora.layout->lora().scale());
  }
  for (int i = 0; i < count; i++) {
    const auto p = static_cast<Projection>(first + i);
    group.parts[i].weight = open_weight(c, role, layer, p);
    if (role.lora) add_lora(c, role.lora, layer, p, group, group.parts[i]);
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
  c.backend->run(op);
}

Product forward_product(const ProjectionGroup& group, int part, Tensor x, Tensor x_narrow) {
  const OpenProjection& p = group.parts[part];
  Product op;
  op.transposed = true;
  op.by_shape = group.by_shape;
  op.add(x, p.weight);
  if (p.lora) op.add(group.narrow(x_narrow, p), scaled(p.b, group.lora_scale));
  return op;
}

Product backward_product(const ProjectionGroup& group, const std::array<Tensor, 3>& dy, Tensor dy_narrow) {
  Product op;
  op.by_shape = group.by_shape;
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
    op.outputs[op.count++] = {dy[i], p.weight.row_index, p.da, p.db, p.out_full};
  }
  c.backend->run(op);
}

}  // namespace espalier

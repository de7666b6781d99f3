#include "step/projections.h"

#include "method/philox.h"
#include "model/tensor_names.h"

namespace espalier {

namespace {

// Returns the rows and columns of a projection's open part, padded.
Extent open_extent(const RoleLayer& r, int64_t hidden, Projection p) {
  switch (p) {
    case kQ:
      return {r.head_width, hidden};
    case kK:
    case kV:
      return {r.kv_width, hidden};
    case kO:
      return {hidden, r.head_width};
    case kDown:
      return {hidden, r.unit_width};
    default:
      return {r.unit_width, hidden};
  }
}

// Selects the open rows and columns of a projection's matrix.
Selection open_weight(PassContext& c, const DeviceRole& role, int64_t layer, Projection p) {
  const RoleLayer& r = role.layers[layer];
  const RoleLayerLists& lists = role.lists.layers[layer];
  const int64_t hidden = role.hidden_width;
  if (role.lora.has_own_weights()) {
    const auto [rows, cols] = open_extent(r, hidden, p);
    return {role.lora.own_weight(projection_name(layer, p)), rows, cols, nullptr, nullptr};
  }
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

// Adds LoRA's factors, with the open rows and columns of their weight.
void add_lora(PassContext& c, const DeviceLora& lora, int64_t layer, Projection p, ProjectionGroup& group, OpenProjection& out) {
  const StateLayout::Entry *a = lora.layout->lora_a(layer, p), *b = lora.layout->lora_b(layer, p);
  if (!a) return;
  const Selection& w = out.weight;
  const auto factor = [&](const StateLayout::Entry& e) {
    return StoredMatrix{(lora.params + e.offset).as<const std::byte>(), DType::kF32, e.shape[0], e.shape[1]};
  };
  out.lora = true;
  out.slot = group.lora_count++;
  out.number = layer * kProjectionCount + p;
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
  group.lora = role.lora;
  if (role.lora) {
    group.rank = role.lora.layout->lora().rank;
    group.lora_scale = static_cast<float>(role.lora.layout->lora().scale());
  }
  for (int i = 0; i < count; i++) {
    const auto p = static_cast<Projection>(first + i);
    group.parts[i].weight = open_weight(c, role, layer, p);
    if (role.lora) add_lora(c, role.lora, layer, p, group, group.parts[i]);
    if (role.lora.has_own_weights() && c.ws->shard_gradient)
      group.parts[i].own_gradient = own_gradient(*c.ws, *role.lora.layout, projection_name(layer, p));
  }
  group.cols = group.parts[0].weight.col_index;
  return group;
}

namespace {

// Drops values of x to make `out`, or takes a gradient back in the same way.
void drop(PassContext& c, const ProjectionGroup& group, const OpenProjection& p, Tensor x, Tensor out, bool accumulate) {
  LoraDropout op;
  op.x = x;
  op.out = out;
  op.accumulate = accumulate;
  op.cols = group.cols;
  op.in_full = p.in_full;
  op.seed = group.lora.dropping.seed;
  op.step = group.lora.dropping.step;
  op.stream = static_cast<uint32_t>(RandomStream::kLoraDropout) + static_cast<uint32_t>(p.number);
  op.first_row = c.first_row;
  op.probability = group.lora.dropping.probability;
  c.backend->run(op);
}

}  // namespace

Tensor dropped_input(PassContext& c, const ProjectionGroup& group, const OpenProjection& p, Tensor x) {
  Tensor out = c.ws->dropout_space.reshaped(x.rows, x.cols);
  out.dtype = x.dtype;
  drop(c, group, p, x, out, false);
  return out;
}

void make_narrow(PassContext& c, const ProjectionGroup& group, Pass pass, const std::array<Tensor, 3>& from, Tensor narrow) {
  if (group.lora_count == 0) return;
  const bool forward = pass == Pass::kForward;
  if (forward && group.lora.dropping.probability > 0) {
    for (int i = 0; i < group.count; i++)
      if (const OpenProjection& p = group.parts[i]; p.lora)
        c.backend->run(LoraNarrow{group.narrow(narrow, p), group.rank, true, 1, {ProductTerm{dropped_input(c, group, p, from[0]), p.a}}});
    return;
  }
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

void input_gradient(PassContext& c, const ProjectionGroup& group, const std::array<Tensor, 3>& dy, Tensor dy_narrow, Tensor dx,
                    DevicePtr<const float> column_scale) {
  const bool drops = group.lora.dropping.probability > 0;
  Product op;
  op.c = dx;
  op.by_shape = group.by_shape;
  op.column_scale = column_scale;
  for (int i = 0; i < group.count; i++) op.add(dy[i], group.parts[i].weight);
  for (int i = 0; i < group.count && !drops; i++)
    if (const OpenProjection& p = group.parts[i]; p.lora) op.add(group.narrow(dy_narrow, p), scaled(p.a, group.lora_scale));
  c.backend->run(op);
  for (int i = 0; i < group.count && drops; i++) {
    const OpenProjection& p = group.parts[i];
    if (!p.lora) continue;
    Product part;
    part.c = c.ws->dropout_space.reshaped(dx.rows, dx.cols);
    part.by_shape = group.by_shape;
    part.column_scale = column_scale;
    part.add(group.narrow(dy_narrow, p), scaled(p.a, group.lora_scale));
    c.backend->run(part);
    drop(c, group, p, part.c, dx, true);
  }
}

Tensor own_gradient(const Workspace& ws, const StateLayout& layout, const std::string& name) {
  const StateLayout::Entry* e = layout.find(name);
  if (!e) return {};
  return {(ws.shard_gradient + e->offset).as<std::byte>(), DType::kF32, e->shape[0], e->shape[1], e->shape[1]};
}

DevicePtr<float> own_vector_gradient(const Workspace& ws, const DeviceLora& lora, const std::string& name) {
  const StateLayout::Entry* e = lora.has_own_weights() ? lora.layout->find(name) : nullptr;
  return e ? ws.shard_gradient + e->offset : DevicePtr<float>();
}

void add_own_gradient(PassContext& c, Tensor gradient, Tensor x, Tensor dy) {
  const Tensor turned = c.ws->turned.reshaped(dy.cols, padded_width(dy.rows));
  c.backend->run(Transpose{turned, dy});
  Product op;
  op.c = gradient;
  op.accumulate = true;
  op.by_shape = c.by_shape;
  op.add(turned.row_range(0, gradient.rows), {{x.data, x.dtype, x.rows, x.cols}, turned.cols, x.cols, nullptr, nullptr});
  c.backend->run(op);
}

void weight_gradients(PassContext& c, const ProjectionGroup& group, Tensor x, Tensor x_narrow, const std::array<Tensor, 3>& dy,
                      Tensor dy_narrow) {
  for (int i = 0; i < group.count; i++)
    if (group.parts[i].own_gradient) add_own_gradient(c, group.parts[i].own_gradient, x, dy[i]);
  lora_gradients(c, group, x, x_narrow, dy, dy_narrow);
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
    if (group.lora.dropping.probability == 0) continue;
    op.x = dropped_input(c, group, p, x);
    op.x_narrow = group.narrow(x_narrow, p);
    op.dy_narrow = group.narrow(dy_narrow, p);
    c.backend->run(op);
    op.count = 0;
  }
  if (op.count > 0) c.backend->run(op);
}

}  // namespace espalier

#include "step/layer_pass.h"

#include "model/tensor_names.h"
#include "step/projections.h"
#include "step/rope.h"

namespace espalier {

PassContext make_pass_context(Backend& backend, const DeviceModel& model, Workspace& ws, ComputeDType dtype, int64_t batch,
                              int64_t tokens) {
  PassContext c;
  c.backend = &backend;
  c.model = &model;
  c.ws = &ws;
  c.dtype = dtype == ComputeDType::kF32 ? DType::kF32 : DType::kBF16;
  c.batch = batch;
  c.tokens = tokens;
  std::vector<float> cos, sin;
  make_rope_tables(model.config(), tokens, cos, sin);
  c.rope = backend.allocate((cos.size() + sin.size()) * sizeof(float));
  const auto tables = c.rope.data().as<float>();
  upload_now<float>(backend, tables, cos);
  upload_now<float>(backend, tables + static_cast<int64_t>(cos.size()), sin);
  c.rope_cos = tables;
  c.rope_sin = tables + static_cast<int64_t>(cos.size());
  return c;
}

void norm_forward(PassContext& c, Tensor x, Tensor out, DevicePtr<float> rstd, DevicePtr<const float> weight) {
  c.backend->run(RmsNorm{x, out, rstd, weight, c.config().hidden_size, static_cast<float>(c.config().rms_norm_eps)});
}

namespace {

// The dense buffers, with the widths of what the role leaves open.
LayerActivations shaped(const PassContext& c, const DeviceRole& role, int64_t layer, LayerActivations a) {
  const RoleLayer& r = role.layers[layer];
  const int64_t n = c.rows();
  a.norm1 = a.norm1.reshaped(n, role.hidden_width);
  a.qkv = a.qkv.reshaped(n, r.qkv_width());
  if (a.normed) a.normed = a.normed.reshaped(n, r.head_width + r.kv_width);
  a.heads = a.heads.reshaped(n, r.head_width);
  a.norm2 = a.norm2.reshaped(n, role.hidden_width);
  a.gate_up = a.gate_up.reshaped(n, 2 * r.unit_width);
  for (Tensor* t : {&a.qkv_narrow, &a.o_narrow, &a.gate_up_narrow, &a.down_narrow}) *t = t->reshaped(n, t->cols);
  return a;
}

// x += the hidden mask times the projection's result.
void add_to_stream(PassContext& c, const DeviceRole& role, const ProjectionGroup& group, Tensor input, Tensor input_narrow, Tensor x) {
  make_narrow(c, group, Pass::kForward, {input}, input_narrow);
  Product op = forward_product(group, 0, input, input_narrow);
  op.c = x;
  op.accumulate = true;
  op.column_scale = role.lists.hidden_scale;
  c.backend->run(op);
}

AttentionShape attention_shape(const PassContext& c, const DeviceRole& role, int64_t layer) {
  const RoleLayer& r = role.layers[layer];
  const RoleLayerLists& lists = role.lists.layers[layer];
  AttentionShape s;
  s.batch = c.batch;
  s.tokens = c.tokens;
  s.heads = r.heads;
  s.kv_heads = r.kv_heads;
  s.head_dim = c.config().head_dim;
  s.query_width = r.head_width;
  s.kv_width = r.kv_width;
  s.window = c.config().sliding_window;
  s.kv_of_head = lists.kv_of_head;
  if (c.config().layers[layer].rotary) {
    s.rope_cos = c.rope_cos;
    s.rope_sin = c.rope_sin;
  }
  s.bias = lists.qkv_bias;
  return s;
}

HeadNorms head_norms(const PassContext& c, const RoleLayerLists& lists) {
  return {lists.query_norm, lists.key_norm, static_cast<float>(c.config().rms_norm_eps)};
}

void attention_forward(PassContext& c, const DeviceRole& role, int64_t layer, Tensor x, const LayerActivations& a, const Attend& attend) {
  Backend& b = *c.backend;
  const RoleLayerLists& lists = role.lists.layers[layer];
  const ProjectionGroup qkv = open_group(c, role, layer, kQ, 3);
  norm_forward(c, x, a.norm1, a.rstd1, lists.input_norm);
  make_narrow(c, qkv, Pass::kForward, {a.norm1}, a.qkv_narrow);
  AttentionOperands operands;
  operands.shape = attention_shape(c, role, layer);
  for (int p = 0; p < 3; p++) operands.products[p] = forward_product(qkv, p, a.norm1, a.qkv_narrow);
  operands.space = c.ws->attention_space.reshaped(a.qkv.rows, a.qkv.cols);
  operands.operands = a.qkv;
  operands.norms = head_norms(c, lists);
  operands.normed = a.normed;
  operands.rstd = a.head_rstd;
  b.run(operands);
  if (const PassPaths& p = c.paths; p.pieces > 0)
    b.run(PathAttention{operands.shape, a.qkv, a.heads, lists.head_scale, p.pieces, p.longest, p.bounds, p.path, p.path_size});
  else
    attend(operands.shape, a.qkv, a.heads, lists.head_scale);
  add_to_stream(c, role, open_group(c, role, layer, kO, 1), a.heads, a.o_narrow, x);
}

void mlp_forward(PassContext& c, const DeviceRole& role, int64_t layer, Tensor x, const LayerActivations& a) {
  Backend& b = *c.backend;
  const RoleLayer& r = role.layers[layer];
  const Tensor units = c.ws->units.reshaped(c.rows(), r.unit_width);
  const ProjectionGroup gate_up = open_group(c, role, layer, kGate, 2);
  norm_forward(c, x, a.norm2, a.rstd2, role.lists.layers[layer].post_attention_norm);
  make_narrow(c, gate_up, Pass::kForward, {a.norm2}, a.gate_up_narrow);
  for (int p = 0; p < 2; p++) {
    Product op = forward_product(gate_up, p, a.norm2, a.gate_up_narrow);
    op.c = a.gate_up.columns(p * r.unit_width, r.unit_width);
    op.column_scale = role.lists.layers[layer].unit_scale;
    b.run(op);
  }
  b.run(Swiglu{a.gate_up, units});
  add_to_stream(c, role, open_group(c, role, layer, kDown, 1), units, a.down_narrow, x);
}

// Adds the gradient through a norm to ws.dx, writes it in the compute dtype to `space`, and adds to the hidden masks' sums. name: of the
// norm's weight.
void norm_backward(PassContext& c, const DeviceRole& role, const std::string& name, Tensor saved, DevicePtr<const float> rstd,
                   DevicePtr<const float> weight, DevicePtr<const float> weight_inverse, const LowerLoss& loss, Tensor space) {
  Workspace& ws = *c.ws;
  const int64_t n = c.rows(), width = role.hidden_width;
  if (const DevicePtr<float> own = own_vector_gradient(ws, role.lora, name))
    c.backend->run(ColumnDot{ws.dnorm.reshaped(n, width), saved, nullptr, weight_inverse, width, own});
  RmsNormBackward op;
  op.dout = ws.dnorm.reshaped(n, width);
  op.saved = saved;
  op.rstd = rstd;
  op.weight = weight;
  op.weight_inverse = weight_inverse;
  op.width = c.config().hidden_size;
  op.dx = ws.dx.reshaped(n, width);
  op.loss_diff = loss.diff;
  op.loss_scale = loss.scale;
  op.dx_compute = space;
  op.compute_scale = role.lists.hidden_scale;
  op.mask_dot = ws.sums.hidden_dot;
  c.backend->run(op);
}

// The gradient of a projection group's input; LoRA's narrow products of dy are left in dy_narrow.
void backward_multiply(PassContext& c, const ProjectionGroup& group, const std::array<Tensor, 3>& dy, Tensor dy_narrow, Tensor dx,
                       DevicePtr<const float> column_scale) {
  make_narrow(c, group, Pass::kBackward, dy, dy_narrow);
  input_gradient(c, group, dy, dy_narrow, dx, column_scale);
}

// The part of a buffer that the pass's rows take.
Tensor of_rows(const PassContext& c, const Tensor& t) { return t.reshaped(c.rows(), t.cols); }

// dqkv: the gradients by what the norms of heads made. Every head adds to the one weight of the queries' or keys' norm.
void head_norm_gradients(PassContext& c, const DeviceRole& role, int64_t layer, const LayerActivations& a, Tensor dqkv) {
  const RoleLayer& r = role.layers[layer];
  const int64_t d = c.config().head_dim;
  for (const bool key : {false, true}) {
    const int64_t first = key ? r.head_width : 0, count = (key ? r.kv_heads : r.heads) * d;
    c.backend->run(ColumnDot{dqkv.columns(first, count), a.normed.columns(first, count), nullptr, nullptr, d,
                             own_vector_gradient(*c.ws, role.lora, head_norm_name(layer, key))});
  }
}

void bias_gradients(PassContext& c, const DeviceRole& role, int64_t layer, const std::array<Tensor, 3>& dq_dk_dv) {
  for (int p = kQ; p <= kV; p++) {
    const StateLayout::Entry* bias = role.lora.layout->find(projection_bias_name(layer, p));
    if (bias)
      c.backend->run(ColumnDot{dq_dk_dv[p].columns(0, bias->size), {}, nullptr, nullptr, bias->size, c.ws->shard_gradient + bias->offset});
  }
}

// A gradient is written over the value that it belongs to, once that value is no longer needed. Less memory is touched, and its lines
// stay with the core that wrote them.
void mlp_backward(PassContext& c, const DeviceRole& role, int64_t layer, const LayerActivations& a, const LowerLoss& loss,
                  Tensor& dx_compute, Tensor space) {
  Workspace& ws = *c.ws;
  const RoleLayerLists& lists = role.lists.layers[layer];
  const int64_t width = role.layers[layer].unit_width;
  const ProjectionGroup down = open_group(c, role, layer, kDown, 1), gate_up = open_group(c, role, layer, kGate, 2);
  const Tensor dunits = ws.units.reshaped(c.rows(), width), units = dunits, dgate_up = a.gate_up;
  const std::array<Tensor, 3> dx{dx_compute};
  const std::array<Tensor, 3> dgate_and_up{dgate_up.columns(0, width), dgate_up.columns(width, width)};
  backward_multiply(c, down, dx, of_rows(c, ws.teacher.down_narrow), dunits, nullptr);
  c.backend->run(SwigluBackward{a.gate_up, dunits, dgate_up, units, ws.sums.unit_dots + layer * padded_width(c.config().intermediate_size),
                                lists.unit_scale});
  weight_gradients(c, down, units, a.down_narrow, dx, of_rows(c, ws.teacher.down_narrow));
  backward_multiply(c, gate_up, dgate_and_up, of_rows(c, ws.teacher.gate_up_narrow), ws.dnorm.reshaped(c.rows(), role.hidden_width),
                    nullptr);
  weight_gradients(c, gate_up, a.norm2, a.gate_up_narrow, dgate_and_up, of_rows(c, ws.teacher.gate_up_narrow));
  norm_backward(c, role, post_attention_norm_name(layer), a.norm2, a.rstd2, lists.post_attention_norm, lists.post_attention_norm_inverse,
                loss, space);
  dx_compute = space;
}

void attention_backward(PassContext& c, const DeviceRole& role, int64_t layer, const LayerActivations& a, const LowerLoss& loss,
                        Tensor& dx_compute, Tensor space) {
  Workspace& ws = *c.ws;
  const RoleLayer& r = role.layers[layer];
  const RoleLayerLists& lists = role.lists.layers[layer];
  const ProjectionGroup o = open_group(c, role, layer, kO, 1), qkv = open_group(c, role, layer, kQ, 3);
  const Tensor dheads = ws.teacher.heads.reshaped(c.rows(), r.head_width), dqkv = a.qkv;
  const std::array<Tensor, 3> dx{dx_compute};
  const std::array<Tensor, 3> dq_dk_dv{dqkv.columns(0, r.head_width), dqkv.columns(r.head_width, r.kv_width),
                                       dqkv.columns(r.head_width + r.kv_width, r.kv_width)};
  backward_multiply(c, o, dx, of_rows(c, ws.teacher.o_narrow), dheads, lists.head_scale);
  weight_gradients(c, o, a.heads, a.o_narrow, dx, of_rows(c, ws.teacher.o_narrow));
  c.backend->run(
      AttentionBackward{attention_shape(c, role, layer), a.qkv, dheads, a.lse, dqkv, ws.sums.head_dots + layer * c.config().head_count});
  const bool own = role.lora.has_own_weights();
  if (const HeadNorms norms = head_norms(c, lists)) {
    if (own) head_norm_gradients(c, role, layer, a, dqkv);
    c.backend->run(HeadNormBackward{attention_shape(c, role, layer), norms, a.normed, a.head_rstd, dqkv});
  }
  if (own) bias_gradients(c, role, layer, dq_dk_dv);
  backward_multiply(c, qkv, dq_dk_dv, of_rows(c, ws.teacher.qkv_narrow), ws.dnorm.reshaped(c.rows(), role.hidden_width), nullptr);
  weight_gradients(c, qkv, a.norm1, a.qkv_narrow, dq_dk_dv, of_rows(c, ws.teacher.qkv_narrow));
  norm_backward(c, role, input_norm_name(layer), a.norm1, a.rstd1, lists.input_norm, lists.input_norm_inverse, loss, space);
  dx_compute = space;
}

}  // namespace

void forward_layer(PassContext& c, const DeviceRole& role, int64_t layer, Tensor x, const LayerActivations& buffers, bool keep) {
  const DevicePtr<float> lse = keep ? buffers.lse : DevicePtr<float>();
  forward_layer(c, role, layer, x, buffers, [&](const auto& shape, const auto& operands, const auto& out, auto head_scale) {
    c.backend->run(Attention{shape, operands, out, lse, head_scale});
  });
}

void forward_half(PassContext& c, const DeviceRole& role, int64_t layer, Half half, Tensor x, const LayerActivations& buffers) {
  const LayerActivations a = shaped(c, role, layer, buffers);
  if (half == Half::kMlp) {
    if (role.layers[layer].units > 0) mlp_forward(c, role, layer, x, a);
  } else if (role.layers[layer].heads > 0) {
    attention_forward(c, role, layer, x, a, [&](const auto& shape, const auto& operands, const auto& out, auto head_scale) {
      c.backend->run(Attention{shape, operands, out, nullptr, head_scale});
    });
  }
}

void forward_layers(PassContext& c, const DeviceRole& role, Tensor x, const LayerActivations& buffers) {
  const int64_t count = c.config().layer_count;
  for (int64_t l = 0; l < count; l++) {
    c.model->enter(l);
    forward_layer(c, role, l, x, buffers, false);
    c.model->fetch((l + 1) % count);  // the next pass begins with the first
  }
}

void forward_layer(PassContext& c, const DeviceRole& role, int64_t layer, Tensor x, const LayerActivations& buffers, const Attend& attend) {
  const LayerActivations a = shaped(c, role, layer, buffers);
  if (role.layers[layer].heads > 0) attention_forward(c, role, layer, x, a, attend);
  if (role.layers[layer].units > 0) mlp_forward(c, role, layer, x, a);
}

void backward_layer(PassContext& c, const DeviceRole& role, int64_t layer, const LayerActivations& buffers, const LowerLoss& loss,
                    Tensor& dx_compute, Tensor space) {
  const LayerActivations a = shaped(c, role, layer, buffers);
  const bool heads = role.layers[layer].heads > 0, units = role.layers[layer].units > 0;
  space = space.reshaped(c.rows(), role.hidden_width);
  if (units) mlp_backward(c, role, layer, a, heads ? LowerLoss{} : loss, dx_compute, heads ? a.norm2 : space);
  if (heads) attention_backward(c, role, layer, a, loss, dx_compute, space);
  if (heads || units || !loss.diff) return;
  c.backend->run(AddLossGradient{c.ws->dx.reshaped(c.rows(), role.hidden_width), loss.diff, loss.scale, space, role.lists.hidden_scale});
  dx_compute = space;
}

}  // namespace espalier

#include "step/layer_pass.h"

#include "model/tensor_names.h"
#include "step/layer_buffers.h"
#include "step/projections.h"

namespace espalier {

namespace {

void norm_rows(PassContext& c, Tensor x, Tensor out, DevicePtr<float> rstd, DevicePtr<const float> weight, DevicePtr<const float> scale) {
  c.backend->run(RmsNorm{x, out, rstd, weight, c.config().hidden_size, static_cast<float>(c.config().rms_norm_eps), scale});
}

}  // namespace

void norm_forward(PassContext& c, const DeviceRole& role, Tensor x, Tensor out, DevicePtr<float> rstd, DevicePtr<const float> weight) {
  norm_rows(c, x, out, rstd, weight, role.lists.stream_scale);
}

namespace {

// Adds diff to x, and rounds x to the compute dtype.
void add_and_round(PassContext& c, Tensor x, Tensor diff, Tensor rounded) {
  c.backend->run(AddLossGradient{x, diff, 1.0f, rounded, nullptr});
}

// Makes the input of attention or MLP: the stream, normed where the model has such a norm.
void block_input(PassContext& c, const DeviceRole& role, Tensor x, Tensor out, DevicePtr<float> rstd, const NormLists& norm) {
  c.config().pre_norms ? norm_forward(c, role, x, out, rstd, norm.weight) : add_and_round(c, x, {}, out);
}

// The norm behind a block: its weights, and the values that the backward pass needs.
struct PostNorm {
  NormLists lists;
  Tensor normed;
  DevicePtr<float> rstd;
};

// Adds the projection's result to x, times the hidden mask and the model's multiplier. The result is normed first where the model has such
// a norm. Where the stream is scaled when it is read, the two factors are left to the reader.
void add_to_stream(PassContext& c, const DeviceRole& role, const ProjectionGroup& group, Tensor input, Tensor input_narrow, Tensor x,
                   const PostNorm& norm) {
  make_narrow(c, group, Pass::kForward, {input}, input_narrow);
  Product op = forward_product(group, 0, input, input_narrow);
  op.c = norm.normed ? c.ws->addend.reshaped(x.rows, x.cols) : x;
  op.accumulate = !norm.normed;
  if (!role.lists.stream_scale) op.column_scale = role.lists.addend_scale;
  c.backend->run(op);
  if (!norm.normed) return;
  norm_rows(c, op.c, norm.normed, norm.rstd, norm.lists.weight, nullptr);
  add_and_round(c, x, norm.normed, c.ws->unread.reshaped(x.rows, x.cols));
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
  const LayerShape& shape = c.config().layers[layer];
  s.window = c.config().window_of(shape);
  s.kv_of_head = lists.kv_of_head;
  if (shape.rotary) {
    const RopePlaces& rope = shape.sliding && c.local_rope.cos ? c.local_rope : c.usual_rope;
    s.rope_cos = rope.cos;
    s.rope_sin = rope.sin;
  }
  s.bias = lists.qkv_bias;
  s.score_scale = static_cast<float>(c.config().score_scale);
  s.score_cap = static_cast<float>(c.config().score_cap);
  return s;
}

HeadNorms head_norms(const PassContext& c, const RoleLayerLists& lists) {
  return {lists.query_norm, lists.key_norm, static_cast<float>(c.config().rms_norm_eps), c.config().whole_norms};
}

void attention_forward(PassContext& c, const DeviceRole& role, int64_t layer, Tensor x, const LayerActivations& a, const Attend& attend) {
  Backend& b = *c.backend;
  const RoleLayerLists& lists = role.lists.layers[layer];
  const ProjectionGroup qkv = open_group(c, role, layer, kQ, 3);
  block_input(c, role, x, a.norm1, a.rstd1, lists.attention_norm);
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
  add_to_stream(c, role, open_group(c, role, layer, kO, 1), a.heads, a.o_narrow, x,
                {lists.post_attention_norm, a.post_attention, a.post_attention_rstd});
}

void mlp_forward(PassContext& c, const DeviceRole& role, int64_t layer, Tensor x, const LayerActivations& a) {
  Backend& b = *c.backend;
  const RoleLayer& r = role.layers[layer];
  const RoleLayerLists& lists = role.lists.layers[layer];
  const Tensor units = shaped_units(c, role, layer);
  const bool scales = c.ws->form.scales_when_read;
  const ProjectionGroup gate_up = open_group(c, role, layer, kGate, 2);
  block_input(c, role, x, a.norm2, a.rstd2, lists.mlp_norm);
  make_narrow(c, gate_up, Pass::kForward, {a.norm2}, a.gate_up_narrow);
  for (int p = 0; p < 2; p++) {
    Product op = forward_product(gate_up, p, a.norm2, a.gate_up_narrow);
    op.c = a.gate_up.columns(p * r.unit_width, r.unit_width);
    if (!scales) op.column_scale = lists.unit_scale;
    b.run(op);
  }
  b.run(Swiglu{a.gate_up, units, c.config().activation, scales ? lists.unit_scale : nullptr});
  const ProjectionGroup down = open_group(c, role, layer, kDown, 1);
  const Tensor narrow = narrow_of(c, units, a.down_narrow);
  add_to_stream(c, role, down, units, narrow, x, {lists.post_mlp_norm, a.post_mlp, a.post_mlp_rstd});
  // The next layer overwrites the units and the values beside them.
  if (down.lora_count > 0 && !(narrow.data == a.down_narrow.data)) b.run(Copy{a.down_narrow, narrow});
}

// Adds the gradient through a norm to ws.dx, writes it in the compute dtype to `space`, and adds to the sums of the hidden masks. name:
// that of the norm's weight.
void norm_backward(PassContext& c, const DeviceRole& role, const std::string& name, Tensor saved, DevicePtr<const float> rstd,
                   const NormLists& norm, const LowerLoss& loss, Tensor space) {
  Workspace& ws = *c.ws;
  const int64_t n = c.rows(), width = role.hidden_width;
  if (const DevicePtr<float> own = own_vector_gradient(ws, role.lora, name))
    c.backend->run(ColumnDot{ws.dnorm.reshaped(n, width), saved, nullptr, norm.inverse, width, own});
  RmsNormBackward op;
  op.dout = ws.dnorm.reshaped(n, width);
  op.saved = saved;
  op.rstd = rstd;
  op.weight = norm.weight;
  op.weight_inverse = norm.inverse;
  op.width = c.config().hidden_size;
  op.dx = ws.dx.reshaped(n, width);
  op.loss_diff = loss.diff;
  op.loss_scale = loss.scale;
  op.dx_compute = space;
  op.compute_scale = role.lists.addend_scale;
  op.mask_dot = c.config().post_norms ? ws.sums.unused_dot : ws.sums.hidden_dot;
  c.backend->run(op);
}

// Does the same where nothing is normed.
void input_backward(PassContext& c, const DeviceRole& role, const LowerLoss& loss, Tensor space) {
  const int64_t n = c.rows(), width = role.hidden_width;
  const Tensor dx = c.ws->dx.reshaped(n, width);
  c.backend->run(Add{dx.data.as<float>(), c.ws->dnorm.data.as<const float>(), n * width});
  if (loss.diff) c.backend->run(AddLossGradient{dx, loss.diff, loss.scale, space, nullptr});
}

// Returns the gradient of a block's result, from that of the stream: the gradient through the norm behind the block, which overwrites
// norm.normed, or dx_compute. With such a norm the hidden masks scale a normed result, so their sums are made here.
Tensor addend_gradient(PassContext& c, const DeviceRole& role, const std::string& name, const PostNorm& norm, Tensor dx_compute) {
  if (!norm.normed) return dx_compute;
  Workspace& ws = *c.ws;
  const int64_t n = c.rows(), width = role.hidden_width;
  if (const DevicePtr<float> own = own_vector_gradient(ws, role.lora, name))
    c.backend->run(ColumnDot{ws.dx.reshaped(n, width), norm.normed, nullptr, norm.lists.inverse, width, own});
  RmsNormBackward op;
  op.dout = ws.dx.reshaped(n, width);
  op.saved = norm.normed;
  op.rstd = norm.rstd;
  op.weight = norm.lists.weight;
  op.weight_inverse = norm.lists.inverse;
  op.width = c.config().hidden_size;
  op.dx = ws.dnorm.reshaped(n, width);  // the result is not read
  op.accumulate = false;
  op.dx_compute = norm.normed;
  op.compute_scale = role.lists.addend_scale;
  op.mask_dot = ws.sums.hidden_dot;
  c.backend->run(op);
  return norm.normed;
}

// Computes the gradient of a projection group's input. LoRA's narrow products of dy stay in dy_narrow.
void backward_multiply(PassContext& c, const ProjectionGroup& group, const std::array<Tensor, 3>& dy, Tensor dy_narrow, Tensor dx,
                       DevicePtr<const float> column_scale) {
  make_narrow(c, group, Pass::kBackward, dy, dy_narrow);
  input_gradient(c, group, dy, dy_narrow, dx, column_scale);
}

// Returns the place for LoRA's narrow products of a gradient.
Tensor dy_narrow_of(const PassContext& c, const Tensor& dy) { return narrow_of(c, dy, c.ws->dy_narrow); }

// Adds the gradients of the norms of heads. dqkv: the gradients by the normed heads. All heads add to the one weight of the queries' or
// keys' norm, unless one norm covers all heads.
void head_norm_gradients(PassContext& c, const DeviceRole& role, int64_t layer, const LayerActivations& a, Tensor dqkv) {
  const RoleLayer& r = role.layers[layer];
  for (const bool key : {false, true}) {
    const int64_t first = key ? r.head_width : 0, heads = key ? r.kv_heads : r.heads, count = heads * c.config().head_dim;
    c.backend->run(ColumnDot{dqkv.columns(first, count), a.normed.columns(first, count), nullptr, nullptr,
                             head_norm_size(c.config(), heads), own_vector_gradient(*c.ws, role.lora, head_norm_name(layer, key))});
  }
}

void bias_gradients(PassContext& c, const DeviceRole& role, int64_t layer, const std::array<Tensor, 3>& dq_dk_dv) {
  for (int p = kQ; p <= kV; p++) {
    const StateLayout::Entry* bias = role.lora.layout->find(projection_bias_name(layer, p));
    if (bias)
      c.backend->run(ColumnDot{dq_dk_dv[p].columns(0, bias->size), {}, nullptr, nullptr, bias->size, c.ws->shard_gradient + bias->offset});
  }
}

// A gradient overwrites the value that it belongs to when that value is no longer needed. This touches less memory, whose lines stay with
// the core that wrote them.
void mlp_backward(PassContext& c, const DeviceRole& role, int64_t layer, const LayerActivations& a, const LowerLoss& loss,
                  Tensor& dx_compute, Tensor space) {
  Workspace& ws = *c.ws;
  const RoleLayerLists& lists = role.lists.layers[layer];
  const int64_t width = role.layers[layer].unit_width;
  const ProjectionGroup down = open_group(c, role, layer, kDown, 1), gate_up = open_group(c, role, layer, kGate, 2);
  const Tensor dunits = ws.units.reshaped(c.rows(), width), units = dunits, dgate_up = a.gate_up;
  const Tensor dgate_up_narrow = dy_narrow_of(c, dgate_up);
  const std::array<Tensor, 3> dx{
      addend_gradient(c, role, post_mlp_norm_name(layer), {lists.post_mlp_norm, a.post_mlp, a.post_mlp_rstd}, dx_compute)};
  const std::array<Tensor, 3> dgate_and_up{dgate_up.columns(0, width), dgate_up.columns(width, width)};
  const Tensor dx_narrow = dy_narrow_of(c, dx[0]);
  backward_multiply(c, down, dx, dx_narrow, dunits, nullptr);
  c.backend->run(SwigluBackward{a.gate_up, dunits, dgate_up, units, ws.sums.unit_dots + layer * padded_width(c.config().intermediate_size),
                                lists.unit_scale, c.config().activation, ws.form.scales_when_read, c.rates_units});
  weight_gradients(c, down, units, a.down_narrow, dx, dx_narrow);
  backward_multiply(c, gate_up, dgate_and_up, dgate_up_narrow, ws.dnorm.reshaped(c.rows(), role.hidden_width), nullptr);
  weight_gradients(c, gate_up, a.norm2, a.gate_up_narrow, dgate_and_up, dgate_up_narrow);
  if (c.config().pre_norms)
    norm_backward(c, role, mlp_norm_name(c.config(), layer), a.norm2, a.rstd2, lists.mlp_norm, loss, space);
  else
    input_backward(c, role, loss, space);
  dx_compute = space;
}

void attention_backward(PassContext& c, const DeviceRole& role, int64_t layer, const LayerActivations& a, const LowerLoss& loss,
                        Tensor& dx_compute, Tensor space) {
  Workspace& ws = *c.ws;
  const RoleLayer& r = role.layers[layer];
  const RoleLayerLists& lists = role.lists.layers[layer];
  const ProjectionGroup o = open_group(c, role, layer, kO, 1), qkv = open_group(c, role, layer, kQ, 3);
  const Tensor dheads = ws.teacher.heads.reshaped(c.rows(), r.head_width);
  const Tensor dqkv = ws.form.attention_gradient_apart ? with_room(c, ws.teacher.qkv, r.qkv_width(), 3) : a.qkv;
  const std::array<Tensor, 3> dx{addend_gradient(c, role, post_attention_norm_name(layer),
                                                 {lists.post_attention_norm, a.post_attention, a.post_attention_rstd}, dx_compute)};
  const std::array<Tensor, 3> dq_dk_dv{dqkv.columns(0, r.head_width), dqkv.columns(r.head_width, r.kv_width),
                                       dqkv.columns(r.head_width + r.kv_width, r.kv_width)};
  const Tensor dx_narrow = dy_narrow_of(c, dx[0]), dqkv_narrow = dy_narrow_of(c, dqkv);
  const bool scales = ws.form.scales_when_read;
  backward_multiply(c, o, dx, dx_narrow, dheads, scales ? nullptr : lists.head_scale);
  weight_gradients(c, o, a.heads, a.o_narrow, dx, dx_narrow);
  c.backend->run(AttentionBackward{attention_shape(c, role, layer), a.qkv, dheads, a.lse, dqkv,
                                   ws.sums.head_dots + layer * c.config().head_count, scales ? lists.head_scale : nullptr});
  const bool own = role.lora.has_own_weights();
  if (const HeadNorms norms = head_norms(c, lists)) {
    if (own) head_norm_gradients(c, role, layer, a, dqkv);
    c.backend->run(HeadNormBackward{attention_shape(c, role, layer), norms, a.normed, a.head_rstd, dqkv});
  }
  if (own) bias_gradients(c, role, layer, dq_dk_dv);
  backward_multiply(c, qkv, dq_dk_dv, dqkv_narrow, ws.dnorm.reshaped(c.rows(), role.hidden_width), nullptr);
  weight_gradients(c, qkv, a.norm1, a.qkv_narrow, dq_dk_dv, dqkv_narrow);
  if (c.config().pre_norms)
    norm_backward(c, role, input_norm_name(layer), a.norm1, a.rstd1, lists.attention_norm, loss, space);
  else
    input_backward(c, role, loss, space);
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
    c.model->fetch((l + 1) % count);  // the next pass begins with the first layer
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
  if (units) mlp_backward(c, role, layer, a, heads ? LowerLoss{} : loss, dx_compute, heads ? a.norm2 : space);
  if (heads) attention_backward(c, role, layer, a, loss, dx_compute, space);
  if (heads || units || !loss.diff) return;
  c.backend->run(AddLossGradient{c.ws->dx.reshaped(c.rows(), role.hidden_width), loss.diff, loss.scale, space, role.lists.addend_scale});
  dx_compute = space;
}

}  // namespace espalier

#include "layer_pass.h"

#include "projections.h"
#include "rope.h"

namespace espalier {

PassContext make_pass_context(Backend& backend, const ModelWeights& model, Workspace& ws, ComputeDType dtype, int64_t batch,
                              int64_t tokens) {
  PassContext c;
  c.backend = &backend;
  c.model = &model;
  c.ws = &ws;
  c.dtype = dtype == ComputeDType::kF32 ? DType::kF32 : DType::kBF16;
  c.batch = batch;
  c.tokens = tokens;
  make_rope_tables(model.config(), tokens, c.rope_cos, c.rope_sin);
  return c;
}

void norm_forward(PassContext& c, Tensor x, Tensor out, float* rstd, const std::vector<float>& weight) {
  c.backend->rmsnorm({x, out, rstd, c.backend->stage(weight), c.config().hidden_size, static_cast<float>(c.config().rms_norm_eps)});
}

const float* hidden_scale(PassContext& c, const Role& role) { return role.hidden_ones ? nullptr : c.backend->stage(role.hidden_scale); }

namespace {

// The dense buffers narrowed to what a role leaves open.
LayerActivations shaped(const PassContext& c, const Role& role, int64_t layer, LayerActivations a) {
  const RoleLayer& r = role.layers[layer];
  const int64_t n = c.rows();
  a.norm1 = a.norm1.reshaped(n, role.hidden_width);
  a.qkv = a.qkv.reshaped(n, r.qkv_width());
  a.heads = a.heads.reshaped(n, r.head_width);
  a.norm2 = a.norm2.reshaped(n, role.hidden_width);
  a.gate_up = a.gate_up.reshaped(n, 2 * r.unit_width);
  for (Tensor* t : {&a.qkv_narrow, &a.o_narrow, &a.gate_up_narrow, &a.down_narrow}) *t = t->reshaped(n, t->cols);
  return a;
}

// nullptr where all are 1.
const float* scale_list(PassContext& c, const std::vector<float>& scale) { return scale.empty() ? nullptr : c.backend->stage(scale); }

// x += the hidden mask times the projection's result.
void add_to_stream(PassContext& c, const Role& role, const ProjectionGroup& group, Tensor input, Tensor input_narrow, Tensor x) {
  make_narrow(c, group, Pass::kForward, {input}, input_narrow);
  Product op = forward_product(group, 0, input, input_narrow);
  op.c = x;
  op.accumulate = true;
  op.column_scale = hidden_scale(c, role);
  c.backend->multiply(op);
}

AttentionShape attention_shape(PassContext& c, const RoleLayer& r) {
  AttentionShape s;
  s.batch = c.batch;
  s.tokens = c.tokens;
  s.heads = r.heads;
  s.kv_heads = r.kv_heads;
  s.head_dim = c.config().head_dim;
  s.query_width = r.head_width;
  s.kv_width = r.kv_width;
  s.window = c.config().sliding_window;
  s.kv_of_head = c.backend->stage(r.kv_of_head);
  s.rope_cos = c.backend->stage(c.rope_cos);
  s.rope_sin = c.backend->stage(c.rope_sin);
  s.bias = r.qkv_bias.empty() ? nullptr : c.backend->stage(r.qkv_bias);
  return s;
}

void attention_forward(PassContext& c, const Role& role, int64_t layer, Tensor x, const LayerActivations& a, bool keep) {
  Backend& b = *c.backend;
  const RoleLayer& r = role.layers[layer];
  const ProjectionGroup qkv = open_group(c, role, layer, kQ, 3);
  norm_forward(c, x, a.norm1, a.rstd1, r.input_norm);
  make_narrow(c, qkv, Pass::kForward, {a.norm1}, a.qkv_narrow);
  AttentionOperands operands;
  operands.shape = attention_shape(c, r);
  for (int p = 0; p < 3; p++) operands.products[p] = forward_product(qkv, p, a.norm1, a.qkv_narrow);
  operands.space = c.ws->attention_space.reshaped(a.qkv.rows, a.qkv.cols);
  operands.operands = a.qkv;
  b.attention_operands(operands);
  b.attention({operands.shape, a.qkv, a.heads, keep ? a.lse : nullptr, scale_list(c, r.head_scale)});
  add_to_stream(c, role, open_group(c, role, layer, kO, 1), a.heads, a.o_narrow, x);
}

void mlp_forward(PassContext& c, const Role& role, int64_t layer, Tensor x, const LayerActivations& a) {
  Backend& b = *c.backend;
  const RoleLayer& r = role.layers[layer];
  const Tensor units = c.ws->units.reshaped(c.rows(), r.unit_width);
  const ProjectionGroup gate_up = open_group(c, role, layer, kGate, 2);
  norm_forward(c, x, a.norm2, a.rstd2, r.post_attention_norm);
  make_narrow(c, gate_up, Pass::kForward, {a.norm2}, a.gate_up_narrow);
  for (int p = 0; p < 2; p++) {
    Product op = forward_product(gate_up, p, a.norm2, a.gate_up_narrow);
    op.c = a.gate_up.columns(p * r.unit_width, r.unit_width);
    op.column_scale = scale_list(c, r.unit_scale);
    b.multiply(op);
  }
  b.swiglu({a.gate_up, units});
  add_to_stream(c, role, open_group(c, role, layer, kDown, 1), units, a.down_narrow, x);
}

// The gradient through a norm joins ws.dx, and in the compute dtype comes out in `space`; the hidden masks' sums take their share.
void norm_backward(PassContext& c, const Role& role, Tensor saved, const float* rstd, const std::vector<float>& weight,
                   const std::vector<float>& weight_inverse, const LowerLoss& loss, Tensor space) {
  Workspace& ws = *c.ws;
  const int64_t n = c.rows(), width = role.hidden_width;
  RmsNormBackward op;
  op.dout = ws.dnorm.reshaped(n, width);
  op.saved = saved;
  op.rstd = rstd;
  op.weight = c.backend->stage(weight);
  op.weight_inverse = c.backend->stage(weight_inverse);
  op.width = c.config().hidden_size;
  op.dx = ws.dx.reshaped(n, width);
  op.loss_diff = loss.diff;
  op.loss_scale = loss.scale;
  op.dx_compute = space;
  op.compute_scale = hidden_scale(c, role);
  op.mask_dot = ws.hidden_dot;
  c.backend->rmsnorm_backward(op);
}

// The gradient of a projection group's input; LoRA's narrow products of dy are left in dy_narrow.
void backward_multiply(PassContext& c, const ProjectionGroup& group, const std::array<Tensor, 3>& dy, Tensor dy_narrow, Tensor dx,
                       const float* column_scale) {
  make_narrow(c, group, Pass::kBackward, dy, dy_narrow);
  Product op = backward_product(group, dy, dy_narrow);
  op.c = dx;
  op.column_scale = column_scale;
  c.backend->multiply(op);
}

// Gradients take the place of what they are gradients of, as soon as that has served: less memory to pass by, and lines of memory stay
// with the core that wrote them.
void mlp_backward(PassContext& c, const Role& role, int64_t layer, const LayerActivations& a, const LowerLoss& loss, Tensor& dx_compute,
                  Tensor space) {
  Workspace& ws = *c.ws;
  const RoleLayer& r = role.layers[layer];
  const int64_t width = r.unit_width;
  const ProjectionGroup down = open_group(c, role, layer, kDown, 1), gate_up = open_group(c, role, layer, kGate, 2);
  const Tensor dunits = ws.units.reshaped(c.rows(), width), units = dunits, dgate_up = a.gate_up;
  const std::array<Tensor, 3> dx{dx_compute};
  const std::array<Tensor, 3> dgate_and_up{dgate_up.columns(0, width), dgate_up.columns(width, width)};
  backward_multiply(c, down, dx, ws.teacher.down_narrow, dunits, nullptr);
  c.backend->swiglu_backward(
      {a.gate_up, dunits, dgate_up, units, ws.unit_dots + layer * padded_width(c.config().intermediate_size), scale_list(c, r.unit_scale)});
  lora_gradients(c, down, units, a.down_narrow, dx, ws.teacher.down_narrow);
  backward_multiply(c, gate_up, dgate_and_up, ws.teacher.gate_up_narrow, ws.dnorm.reshaped(c.rows(), role.hidden_width), nullptr);
  lora_gradients(c, gate_up, a.norm2, a.gate_up_narrow, dgate_and_up, ws.teacher.gate_up_narrow);
  norm_backward(c, role, a.norm2, a.rstd2, r.post_attention_norm, r.post_attention_norm_inverse, loss, space);
  dx_compute = space;
}

void attention_backward(PassContext& c, const Role& role, int64_t layer, const LayerActivations& a, const LowerLoss& loss,
                        Tensor& dx_compute, Tensor space) {
  Workspace& ws = *c.ws;
  const RoleLayer& r = role.layers[layer];
  const ProjectionGroup o = open_group(c, role, layer, kO, 1), qkv = open_group(c, role, layer, kQ, 3);
  const Tensor dheads = ws.teacher.heads.reshaped(c.rows(), r.head_width), dqkv = a.qkv;
  const std::array<Tensor, 3> dx{dx_compute};
  const std::array<Tensor, 3> dq_dk_dv{dqkv.columns(0, r.head_width), dqkv.columns(r.head_width, r.kv_width),
                                       dqkv.columns(r.head_width + r.kv_width, r.kv_width)};
  backward_multiply(c, o, dx, ws.teacher.o_narrow, dheads, scale_list(c, r.head_scale));
  lora_gradients(c, o, a.heads, a.o_narrow, dx, ws.teacher.o_narrow);
  c.backend->attention_backward({attention_shape(c, r), a.qkv, dheads, a.lse, dqkv, ws.head_dots + layer * c.config().head_count});
  backward_multiply(c, qkv, dq_dk_dv, ws.teacher.qkv_narrow, ws.dnorm.reshaped(c.rows(), role.hidden_width), nullptr);
  lora_gradients(c, qkv, a.norm1, a.qkv_narrow, dq_dk_dv, ws.teacher.qkv_narrow);
  norm_backward(c, role, a.norm1, a.rstd1, r.input_norm, r.input_norm_inverse, loss, space);
  dx_compute = space;
}

}  // namespace

void forward_layer(PassContext& c, const Role& role, int64_t layer, Tensor x, const LayerActivations& buffers, bool keep) {
  const LayerActivations a = shaped(c, role, layer, buffers);
  if (role.layers[layer].heads > 0) attention_forward(c, role, layer, x, a, keep);
  if (role.layers[layer].units > 0) mlp_forward(c, role, layer, x, a);
}

void backward_layer(PassContext& c, const Role& role, int64_t layer, const LayerActivations& buffers, const LowerLoss& loss,
                    Tensor& dx_compute, Tensor space) {
  const LayerActivations a = shaped(c, role, layer, buffers);
  const bool heads = role.layers[layer].heads > 0, units = role.layers[layer].units > 0;
  space = space.reshaped(c.rows(), role.hidden_width);
  if (units) mlp_backward(c, role, layer, a, heads ? LowerLoss{} : loss, dx_compute, heads ? a.norm2 : space);
  if (heads) attention_backward(c, role, layer, a, loss, dx_compute, space);
  if (heads || units || !loss.diff) return;
  c.backend->add_loss_gradient(c.ws->dx.reshaped(c.rows(), role.hidden_width), loss.diff, loss.scale, space, hidden_scale(c, role));
  dx_compute = space;
}

}  // namespace espalier

#include "layer_pass.h"

#include <initializer_list>
#include <utility>

#include "layer_weights.h"
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
  return a;
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
  const AttentionShape shape = attention_shape(c, role.layers[layer]);
  LayerProducts products;
  prepare_attention(c, role, layer, products);
  b.rmsnorm({x, a.norm1, a.rstd1, b.stage(role.layers[layer].input_norm), c.config().hidden_size, static_cast<float>(c.config().rms_norm_eps)});
  const std::span<const ProductPart> parts(products.qkv.data(), products.qkv_count);
  b.attention_operands({shape, a.norm1, parts, c.ws->attention_space.reshaped(a.qkv.rows, a.qkv.cols), a.qkv});
  b.attention({shape, a.qkv, a.heads, keep ? a.lse : nullptr});
  b.matmul(x, a.heads, products.o, true, true);
}

void mlp_forward(PassContext& c, const Role& role, int64_t layer, Tensor x, const LayerActivations& a) {
  Backend& b = *c.backend;
  const Tensor units = c.ws->units.reshaped(c.rows(), role.layers[layer].unit_width);
  LayerProducts products;
  prepare_mlp(c, role, layer, products);
  b.rmsnorm({x, a.norm2, a.rstd2, b.stage(role.layers[layer].post_attention_norm), c.config().hidden_size, static_cast<float>(c.config().rms_norm_eps)});
  for (int i = 0; i < products.gate_up_count; i++) {
    const ProductPart& part = products.gate_up[i];
    b.matmul(a.gate_up.columns(part.column, part.weight.rows), a.norm2, part.weight, true, false);
  }
  b.swiglu({a.gate_up, units});
  b.matmul(x, units, products.down, true, true);
}

// Gradients of the LoRA of projections that share their input x.
void lora_backward(PassContext& c, const Role& role, int64_t layer, Tensor x, std::initializer_list<std::pair<Projection, Tensor>> dys) {
  const TrainState* state = role.lora;
  if (!state) return;
  LoraGradient op;
  op.x = x;
  op.rank = state->lora().rank;
  op.lora_scale = static_cast<float>(state->lora().scale());
  for (const auto& [p, dy] : dys) {
    const TrainState::Entry *a = state->lora_a(layer, p), *b = state->lora_b(layer, p);
    if (!a) continue;
    const ProjectionMap map = projection_map(*c.backend, role, layer, p);
    op.cols = map.cols;
    op.col_scale = map.col_scale;
    op.in_full = a->shape[1];
    op.outputs[op.count++] = {dy, map.rows, map.row_scale, state->params().data() + a->offset, state->params().data() + b->offset,
                              c.ws->lora_gradient + a->offset, c.ws->lora_gradient + b->offset};
  }
  if (op.count > 0) c.backend->lora_gradient(op);
}

// The gradient through a norm joins ws.dx; the hidden masks' sums take their share.
void norm_backward(PassContext& c, const Role& role, Tensor saved, const float* rstd, const std::vector<float>& weight,
                   const std::vector<float>& weight_inverse, Tensor loss_diff, float loss_scale) {
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
  op.loss_diff = loss_diff;
  op.loss_scale = loss_scale;
  op.dx_compute = ws.dx_compute.reshaped(n, width);
  op.mask_dot = ws.hidden_dot;
  c.backend->rmsnorm_backward(op);
}

void mlp_backward(PassContext& c, const Role& role, int64_t layer, const LayerActivations& a, Tensor loss_diff, float loss_scale) {
  Backend& b = *c.backend;
  Workspace& ws = *c.ws;
  const int64_t n = c.rows(), width = role.layers[layer].unit_width;
  const Tensor dx = ws.dx_compute.reshaped(n, role.hidden_width);
  const Tensor units = ws.units.reshaped(n, width), dunits = ws.dunits.reshaped(n, width);
  const Tensor dgate_up = ws.teacher.gate_up.reshaped(n, 2 * width);
  LayerProducts products;
  prepare_mlp(c, role, layer, products);
  b.matmul(dunits, dx, products.down, false, false);
  b.swiglu_backward({a.gate_up, dunits, dgate_up, units, ws.unit_dots + layer * padded_width(c.config().intermediate_size)});
  lora_backward(c, role, layer, units, {{kDown, dx}});
  lora_backward(c, role, layer, a.norm2, {{kGate, dgate_up.columns(0, width)}, {kUp, dgate_up.columns(width, width)}});
  b.matmul(ws.dnorm.reshaped(n, role.hidden_width), dgate_up, products.gate_up[0].weight, false, false);
  const RoleLayer& r = role.layers[layer];
  norm_backward(c, role, a.norm2, a.rstd2, r.post_attention_norm, r.post_attention_norm_inverse, loss_diff, loss_scale);
}

void attention_backward(PassContext& c, const Role& role, int64_t layer, const LayerActivations& a, Tensor loss_diff, float loss_scale) {
  Backend& b = *c.backend;
  Workspace& ws = *c.ws;
  const RoleLayer& r = role.layers[layer];
  const int64_t n = c.rows();
  const Tensor dx = ws.dx_compute.reshaped(n, role.hidden_width);
  const Tensor dheads = ws.teacher.heads.reshaped(n, r.head_width);
  const Tensor dqkv = ws.teacher.qkv.reshaped(n, r.qkv_width());
  LayerProducts products;
  prepare_attention(c, role, layer, products);
  b.matmul(dheads, dx, products.o, false, false);
  lora_backward(c, role, layer, a.heads, {{kO, dx}});
  b.attention_backward({attention_shape(c, r), a.qkv, dheads, a.lse, dqkv, ws.head_dots + layer * c.config().head_count});
  lora_backward(c, role, layer, a.norm1,
                {{kQ, dqkv.columns(0, r.head_width)},
                 {kK, dqkv.columns(r.head_width, r.kv_width)},
                 {kV, dqkv.columns(r.head_width + r.kv_width, r.kv_width)}});
  b.matmul(ws.dnorm.reshaped(n, role.hidden_width), dqkv, products.qkv[0].weight, false, false);
  norm_backward(c, role, a.norm1, a.rstd1, r.input_norm, r.input_norm_inverse, loss_diff, loss_scale);
}

}  // namespace

void forward_layer(PassContext& c, const Role& role, int64_t layer, Tensor x, const LayerActivations& buffers, bool keep) {
  const LayerActivations a = shaped(c, role, layer, buffers);
  if (role.layers[layer].heads > 0) attention_forward(c, role, layer, x, a, keep);
  if (role.layers[layer].units > 0) mlp_forward(c, role, layer, x, a);
}

void backward_layer(PassContext& c, const Role& role, int64_t layer, const LayerActivations& buffers, Tensor loss_diff,
                    float loss_scale) {
  const LayerActivations a = shaped(c, role, layer, buffers);
  const bool heads = role.layers[layer].heads > 0, units = role.layers[layer].units > 0;
  if (units) mlp_backward(c, role, layer, a, heads ? Tensor{} : loss_diff, loss_scale);
  if (heads) attention_backward(c, role, layer, a, loss_diff, loss_scale);
  if (heads || units || !loss_diff) return;
  const int64_t n = c.rows();
  c.backend->add_loss_gradient(c.ws->dx.reshaped(n, role.hidden_width), loss_diff, loss_scale,
                               c.ws->dx_compute.reshaped(n, role.hidden_width));
}

}  // namespace espalier

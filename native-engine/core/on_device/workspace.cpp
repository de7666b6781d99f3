#include "on_device/workspace.h"

#include <algorithm>

#include "model/tensor_names.h"

namespace espalier {

namespace {

struct Arena {
  DevicePtr<std::byte> base;
  uint64_t used = 0;

  template <class T>
  DevicePtr<T> array(int64_t count) {
    const DevicePtr<T> p = base ? (base + static_cast<int64_t>(used)).as<T>() : DevicePtr<T>();
    used += (static_cast<uint64_t>(count) * sizeof(T) + 127) / 128 * 128;
    return p;
  }
  Tensor tensor(DType t, int64_t rows, int64_t cols) { return {array<std::byte>(rows * cols * dtype_bytes(t)), t, rows, cols, cols}; }
};

struct Widths {
  int64_t hidden, heads, qkv, normed, units, vocab, posts;
};

Widths widest(const ModelConfig& c) {
  Widths w{padded_width(c.hidden_size), 0, 0, 0, 0, padded_width(c.vocab_size), 0};
  if (c.post_norms) w.posts = w.hidden;
  for (const LayerShape& l : c.layers) {
    const int64_t q = padded_width(l.heads * c.head_dim), kv = padded_width(l.kv_heads * c.head_dim);
    w.heads = std::max(w.heads, q);
    w.qkv = std::max(w.qkv, q + 2 * kv);
    if (c.head_norms) w.normed = std::max(w.normed, q + kv);
    w.units = std::max(w.units, padded_width(l.intermediate));
  }
  return w;
}

// Lays out a layer's activations. head_count and kv_head_count are 0 where there is no backward pass.
LayerActivations lay_out_layer(Arena& a, DType t, int64_t n, const Widths& w, int64_t head_count, int64_t kv_head_count,
                               const LoraSpec& lora, int64_t beside) {
  LayerActivations l;
  l.norm1 = a.tensor(t, n, w.hidden + 3 * beside);
  l.qkv = a.tensor(t, n, w.qkv + 3 * beside);
  l.heads = a.tensor(t, n, w.heads + beside);
  l.norm2 = a.tensor(t, n, w.hidden + 2 * beside);
  l.gate_up = a.tensor(t, n, 2 * (w.units + beside));
  const int64_t narrow = narrow_width(lora.rank);
  if (beside == 0) {
    l.qkv_narrow = a.tensor(t, n, 3 * narrow);
    l.o_narrow = a.tensor(t, n, narrow);
    l.gate_up_narrow = a.tensor(t, n, 2 * narrow);
  }
  l.down_narrow = a.tensor(t, n, narrow);
  if (w.posts > 0) {
    l.post_attention = a.tensor(t, n, w.posts);
    l.post_mlp = a.tensor(t, n, w.posts);
    l.post_attention_rstd = a.array<float>(n);
    l.post_mlp_rstd = a.array<float>(n);
  }
  l.rstd1 = a.array<float>(n);
  l.rstd2 = a.array<float>(n);
  l.lse = a.array<float>(n * head_count);
  if (w.normed > 0 && head_count > 0) {
    l.normed = a.tensor(t, n, w.normed);
    l.head_rstd = a.array<float>(n * (head_count + kv_head_count));
  }
  return l;
}

// Returns the number of tokens whose logits are made at a time. The logits of a chunk should stay in the outer cache, about four megabytes
// for each of the two roles. But lm_head is packed again for each chunk, so a small chunk costs more than it saves.
int64_t chunk_tokens(int64_t tokens, int64_t vocab, const StepForm& form) {
  const int64_t fitting = (int64_t{4} << 20) / (4 * vocab) / 64 * 64;
  return std::min(tokens, std::clamp<int64_t>(fitting, form.least_chunk, form.most_chunk));
}

void lay_out_results(Arena& a, Workspace& ws, const ModelConfig& c, const WorkspaceShape& s, int64_t n, const Widths& w) {
  const uint64_t begin = a.used;
  ws.results = a.array<std::byte>(0);
  for (int64_t shard = 0; shard < s.shards; shard++) {
    ShardSums& sums = ws.shards.emplace_back();
    sums.kl_rows = a.array<double>(n);
    sums.lm_rows = a.array<double>(n);
    if (!s.training) continue;
    sums.layer_sums = a.array<double>(c.layer_count);
    sums.head_dots = a.array<double>(c.layer_count * c.head_count);
    sums.layer_dots = a.array<float>(c.layer_count * w.hidden);
    sums.unit_dots = a.array<float>(c.layer_count * w.units);
    sums.hidden_dot = a.array<float>(w.hidden);
    if (w.posts > 0) sums.unused_dot = a.array<float>(w.hidden);
  }
  ws.sums = ws.shards[0];
  ws.shard_bytes = (a.used - begin) / ws.shards.size();
  if (s.training) ws.gradient_squares = a.array<double>(1);
  ws.result_bytes = a.used - begin;
}

}  // namespace

Workspace lay_out_workspace(const ModelConfig& c, const LoraSpec& lora, const WorkspaceShape& s, DevicePtr<std::byte> base) {
  const DType t = s.dtype == ComputeDType::kF32 ? DType::kF32 : DType::kBF16;
  const int64_t n = s.batch * s.tokens, layer_count = c.layer_count;
  const Widths w = widest(c);
  Arena a{base};
  Workspace ws;
  ws.form = s.form;
  // Products read factors in pieces of eight values of bf16. Own weights have no narrow products.
  if (s.form.narrow_beside && s.own_weights == 0 && t == DType::kBF16 && narrow_width(lora.rank) % 8 == 0)
    ws.beside = narrow_width(lora.rank);
  if (s.training) {
    for (int64_t l = 0; l < layer_count; l++) {
      ws.layers.push_back(s.checkpoint && l > 0 ? ws.layers[0] : lay_out_layer(a, t, n, w, c.head_count, c.kv_head_count, lora, ws.beside));
      if (s.checkpoint) ws.inputs.push_back(a.tensor(DType::kF32, n, w.hidden));
      ws.diffs.push_back(a.tensor(t, n, w.hidden + ws.beside));
    }
    ws.activation_bytes = a.used;
    const int64_t gradients = s.own_weights > 0 ? s.own_weights : lora_parameter_count(c, lora);
    // Own weights have no room for a second gradient: the gradient of a shard is added to those before it while it is computed.
    const int64_t places = s.own_weights > 0 ? 1 : s.gradients;
    for (int64_t i = 0; i < places; i++) ws.gradients.push_back(a.array<float>(gradients + (i == 1 ? s.shards * kSliceMultiple : 0)));
    ws.shard_gradient = ws.gradients.back();
    ws.student_x = a.tensor(DType::kF32, n, w.hidden);
    ws.dx = a.tensor(DType::kF32, n, w.hidden);
    ws.dnorm = a.tensor(DType::kF32, n, w.hidden);
    ws.final_rstd = a.array<float>(n);
    if (s.dropout) ws.dropout_space = a.tensor(DType::kF32, n, std::max({w.hidden, w.heads, w.units}));
  }
  lay_out_results(a, ws, c, s, n, w);
  ws.teacher_x = a.tensor(DType::kF32, n, w.hidden);
  ws.teacher = lay_out_layer(a, t, n, w, 0, 0, lora, ws.beside);
  ws.dy_narrow = ws.beside > 0 ? a.tensor(t, n, 3 * ws.beside) : ws.teacher.qkv_narrow;
  if (w.posts > 0) ws.unread = a.tensor(t, n, w.posts);
  ws.units = a.tensor(t, n, w.units + ws.beside);
  ws.chunk = s.chunk > 0 ? s.chunk : chunk_tokens(n, w.vocab, s.form);
  const int64_t roles = s.training ? 2 : 1;
  ws.h = a.tensor(t, roles * ws.chunk, w.hidden);
  const auto shared = a.array<float>(std::max({roles * ws.chunk * w.vocab, n * w.qkv, n * w.posts})).as<std::byte>();
  ws.logits = {shared, DType::kF32, roles * ws.chunk, w.vocab, w.vocab};
  ws.attention_space = {shared, DType::kF32, n, w.qkv, w.qkv};
  if (w.posts > 0) ws.addend = {shared, DType::kF32, n, w.posts, w.posts};
  if (s.training) ws.dlogits = a.tensor(t, ws.chunk, w.vocab);
  if (s.own_weights > 0)
    ws.turned = a.tensor(t, 1, std::max(std::max({w.hidden, w.qkv, w.units}) * padded_width(n), w.vocab * padded_width(ws.chunk)));
  ws.total_bytes = a.used;
  ws.scratch_bytes = a.used - ws.activation_bytes;
  return ws;
}

StepResults::StepResults(Backend& backend, const Workspace& ws)
    : begin_(ws.results.address()), shard_bytes_(ws.shard_bytes), bytes_(ws.result_bytes) {
  backend.download(bytes_.data(), ws.results, bytes_.size());
}

void StepResults::take_shards(const StepResults& other, int64_t first, int64_t count) {
  const auto from = static_cast<int64_t>(shard_bytes_) * first, bytes = static_cast<int64_t>(shard_bytes_) * count;
  std::copy_n(other.bytes_.begin() + from, bytes, bytes_.begin() + from);
}

int64_t lora_parameter_count(const ModelConfig& c, const LoraSpec& lora) {
  int64_t count = 0;
  for (const LayerShape& layer : c.layers)
    for (int p = 0; p < kProjectionCount; p++) {
      const Extent e = projection_extent(c, layer, p);
      if (lora.targets[p] && e.rows > 0 && e.cols > 0) count += lora.rank * (e.rows + e.cols);
    }
  return count;
}

int64_t mask_parameter_count(const ModelConfig& c, const BlockGates& gates) {
  const int64_t blocks = (gates.kv_group ? c.kv_head_count : 0) + (gates.attention ? 1 : 0) + (gates.mlp ? 1 : 0);
  return c.layer_count * (c.head_count + c.intermediate_size + blocks) + c.hidden_size;
}

}  // namespace espalier

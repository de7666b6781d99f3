#include "method/masks/masks.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/chunks.h"
#include "method/masks/hard_concrete.h"
#include "method/philox.h"
#include "method/sparsity/shape_target.h"

namespace espalier {

Masks open_masks(const ModelConfig& c) {
  return {std::vector<float>(c.layer_count * c.head_count, 1.0f), std::vector<float>(c.layer_count * c.intermediate_size, 1.0f),
          std::vector<float>(c.hidden_size, 1.0f)};
}

MaskNoise mask_noise(const LogAlphas& a, uint64_t seed, int64_t step) {
  MaskNoise noise{seed, step, {}};
  const auto log_alphas = kinds_of(a);
  for (size_t kind = 0; kind < log_alphas.size(); kind++) {
    const uint32_t stream = static_cast<uint32_t>(RandomStream::kHeadMask) + static_cast<uint32_t>(kind);
    std::vector<double>& values = noise.kinds[kind];
    values.resize(log_alphas[kind].size());
    for_each_in_chunks(static_cast<int64_t>(values.size()), kGatesTogether,
                       [&](int64_t i) { values[i] = hard_concrete::noise(random_uniform(seed, step, stream, i)); });
  }
  return noise;
}

Masks sample_masks(const LogAlphas& a, const MaskNoise& noise, double share) {
  Masks z;
  const auto log_alphas = kinds_of(a);
  const auto kinds = kinds_of(z);
  for (size_t kind = 0; kind < kinds.size(); kind++) {
    std::vector<float>& values = *kinds[kind];
    values.resize(log_alphas[kind].size());
    for_each_in_chunks(static_cast<int64_t>(values.size()), kGatesTogether,
                       [&](int64_t i) { values[i] = hard_concrete::sample(log_alphas[kind][i], share * noise.kinds[kind][i]); });
  }
  return z;
}

namespace {

bool has_blocks(const Masks& z) { return !z.kv_group.empty() || !z.attention.empty() || !z.mlp.empty(); }

// The gates of the blocks that contain heads and units; 1 where there is no such gate.
class Blocks {
 public:
  Blocks(const ModelConfig& config, const Masks& gates) : config_(config), z_(gates) {}

  int64_t group(int64_t layer, int64_t head) const { return layer * config_.kv_head_count + config_.layers[layer].kv_head_of_query[head]; }
  float of_group(int64_t layer, int64_t head) const { return z_.kv_group.empty() ? 1.0f : z_.kv_group[group(layer, head)]; }
  float of_attention(int64_t layer) const { return z_.attention.empty() ? 1.0f : z_.attention[layer]; }
  float of_mlp(int64_t layer) const { return z_.mlp.empty() ? 1.0f : z_.mlp[layer]; }

 private:
  const ModelConfig& config_;
  const Masks& z_;
};

}  // namespace

Masks with_blocks(const ModelConfig& c, const Masks& gates) {
  if (!has_blocks(gates)) return gates;
  const Blocks blocks(c, gates);
  Masks z{gates.head, gates.intermediate, gates.hidden};
  for (int64_t l = 0; l < c.layer_count; l++) {
    for (int64_t h = 0; h < c.head_count; h++) z.head[l * c.head_count + h] *= blocks.of_group(l, h) * blocks.of_attention(l);
    for (int64_t i = 0; i < c.intermediate_size; i++) z.intermediate[l * c.intermediate_size + i] *= blocks.of_mlp(l);
  }
  return z;
}

Masks gradient_of_gates(const ModelConfig& c, const Masks& gates, const Masks& grad) {
  if (!has_blocks(gates)) return grad;
  const Blocks blocks(c, gates);
  Masks out{grad.head, grad.intermediate, grad.hidden};
  std::vector<double> kv_group(gates.kv_group.size()), attention(gates.attention.size()), mlp(gates.mlp.size());
  for (int64_t l = 0; l < c.layer_count; l++) {
    for (int64_t h = 0; h < c.head_count; h++) {
      const int64_t at = l * c.head_count + h;
      const double of_group = blocks.of_group(l, h), of_attention = blocks.of_attention(l),
                   by_head = static_cast<double>(grad.head[at]) * gates.head[at];
      out.head[at] = static_cast<float>(grad.head[at] * of_group * of_attention);
      if (!kv_group.empty()) kv_group[blocks.group(l, h)] += by_head * of_attention;
      if (!attention.empty()) attention[l] += by_head * of_group;
    }
    for (int64_t i = 0; i < c.intermediate_size; i++) {
      const int64_t at = l * c.intermediate_size + i;
      out.intermediate[at] = grad.intermediate[at] * blocks.of_mlp(l);
      if (!mlp.empty()) mlp[l] += static_cast<double>(grad.intermediate[at]) * gates.intermediate[at];
    }
  }
  out.kv_group.assign(kv_group.begin(), kv_group.end());
  out.attention.assign(attention.begin(), attention.end());
  out.mlp.assign(mlp.begin(), mlp.end());
  return out;
}

std::vector<bool> highest(std::span<const float> log_alpha, int64_t open) {
  std::vector<int32_t> order(log_alpha.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t i, int32_t j) { return log_alpha[i] < log_alpha[j]; });
  std::vector<bool> is_open(log_alpha.size(), true);
  for (size_t i = 0; i < log_alpha.size() - static_cast<size_t>(open); i++) is_open[order[i]] = false;
  return is_open;
}

// Appends the masks of a group, of which all but the `open` highest are 0.
static void append_deterministic(std::span<const float> log_alpha, int64_t open, std::vector<float>& out) {
  const std::vector<bool> is_open = highest(log_alpha, open);
  for (size_t i = 0; i < log_alpha.size(); i++) out.push_back(is_open[i] ? hard_concrete::soft_value(log_alpha[i]) : 0.0f);
}

static std::vector<float> soft_values(std::span<const float> log_alpha) {
  std::vector<float> values;
  for (const float a : log_alpha) values.push_back(hard_concrete::soft_value(a));
  return values;
}

Masks deterministic_masks(const ModelConfig& config, const LogAlphas& a) {
  Masks z;
  const SettledBlocks settled(config, a);
  const OpenCounts open = open_counts(config, a, settled);
  for (int64_t l = 0; l < config.layer_count; l++) {
    append_deterministic(settled.head().subspan(l * config.head_count, config.head_count), open.heads[l], z.head);
    append_deterministic(settled.intermediate().subspan(l * config.intermediate_size, config.intermediate_size), open.units[l],
                         z.intermediate);
  }
  append_deterministic(a.hidden, open.hidden, z.hidden);
  if (!a.gates.any()) return z;
  z.kv_group = soft_values(a.kv_group);
  z.attention = soft_values(a.attention);
  z.mlp = soft_values(a.mlp);
  return with_blocks(config, z);
}

static std::vector<int32_t> open_of(const std::vector<float>& mask, int64_t first, int64_t count) {
  std::vector<int32_t> open;
  for (int64_t i = 0; i < count; i++)
    if (mask[first + i] != 0.0f) open.push_back(static_cast<int32_t>(i));
  return open;
}

static void append_head(std::vector<int32_t>& rows, int64_t head, int64_t head_dim) {
  for (int64_t c = 0; c < head_dim; c++) rows.push_back(static_cast<int32_t>(head * head_dim + c));
}

OpenPlaces open_places(const ModelConfig& config, const Masks& masks) {
  OpenPlaces places;
  places.hidden = open_of(masks.hidden, 0, config.hidden_size);
  for (int64_t l = 0; l < config.layer_count; l++) {
    OpenPlaces::Layer layer;
    layer.units = open_of(masks.intermediate, l * config.intermediate_size, config.intermediate_size);
    std::vector<bool> read(static_cast<size_t>(config.kv_head_count));
    for (const int32_t head : open_of(masks.head, l * config.head_count, config.head_count)) {
      append_head(layer.query, head, config.head_dim);
      const int64_t kv = config.layers[l].kv_head_of_query[head];
      if (!read[kv]) append_head(layer.kv, kv, config.head_dim);
      read[kv] = true;
    }
    places.layers.push_back(std::move(layer));
  }
  return places;
}

OpenWidths open_widths(const ModelConfig& config, const Masks& masks) {
  const OpenPlaces places = open_places(config, masks);
  OpenWidths widths;
  widths.hidden = static_cast<int64_t>(places.hidden.size());
  const auto heads = [&](const std::vector<int32_t>& rows) { return static_cast<int64_t>(rows.size()) / config.head_dim; };
  for (const OpenPlaces::Layer& layer : places.layers)
    widths.layers.push_back({heads(layer.query), heads(layer.kv), static_cast<int64_t>(layer.units.size())});
  return widths;
}

static std::vector<float> chain(const std::vector<float>& z, const std::vector<float>& grad_z) {
  std::vector<float> g(z.size());
  for_each_in_chunks(static_cast<int64_t>(z.size()), kGatesTogether,
                     [&](int64_t i) { g[i] = static_cast<float>(grad_z[i] * hard_concrete::sample_derivative(z[i])); });
  return g;
}

Masks log_alpha_gradient(const Masks& z, const Masks& grad_z) {
  return {chain(z.head, grad_z.head),         chain(z.intermediate, grad_z.intermediate), chain(z.hidden, grad_z.hidden),
          chain(z.kv_group, grad_z.kv_group), chain(z.attention, grad_z.attention),       chain(z.mlp, grad_z.mlp)};
}

}  // namespace espalier

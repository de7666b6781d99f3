#include "method/masks.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "method/hard_concrete.h"
#include "method/philox.h"
#include "method/shape_target.h"

namespace espalier {

Masks open_masks(const ModelConfig& c) {
  return {std::vector<float>(c.layer_count * c.head_count, 1.0f), std::vector<float>(c.layer_count * c.intermediate_size, 1.0f),
          std::vector<float>(c.hidden_size, 1.0f)};
}

static std::vector<float> sample(std::span<const float> log_alpha, uint64_t seed, int64_t step, RandomStream stream) {
  std::vector<float> z(log_alpha.size());
  for (size_t i = 0; i < z.size(); i++)
    z[i] = hard_concrete::sample(log_alpha[i], random_uniform(seed, step, static_cast<uint32_t>(stream), static_cast<int64_t>(i)));
  return z;
}

Masks sample_masks(const LogAlphas& a, uint64_t seed, int64_t step) {
  return {sample(a.head, seed, step, RandomStream::kHeadMask), sample(a.intermediate, seed, step, RandomStream::kIntermediateMask),
          sample(a.hidden, seed, step, RandomStream::kHiddenMask)};
}

std::vector<bool> highest(std::span<const float> log_alpha, int64_t open) {
  std::vector<int32_t> order(log_alpha.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t i, int32_t j) { return log_alpha[i] < log_alpha[j]; });
  std::vector<bool> is_open(log_alpha.size(), true);
  for (size_t i = 0; i < log_alpha.size() - static_cast<size_t>(open); i++) is_open[order[i]] = false;
  return is_open;
}

// All but `open` of the gates become 0.
static void append_deterministic(std::span<const float> log_alpha, int64_t open, std::vector<float>& out) {
  const std::vector<bool> is_open = highest(log_alpha, open);
  for (size_t i = 0; i < log_alpha.size(); i++) out.push_back(is_open[i] ? hard_concrete::soft_value(log_alpha[i]) : 0.0f);
}

Masks deterministic_masks(const ModelConfig& config, const LogAlphas& a) {
  Masks z;
  const OpenCounts open = open_counts(config, a);
  for (int64_t l = 0; l < config.layer_count; l++) {
    append_deterministic(a.head.subspan(l * config.head_count, config.head_count), open.heads[l], z.head);
    append_deterministic(a.intermediate.subspan(l * config.intermediate_size, config.intermediate_size), open.units[l], z.intermediate);
  }
  append_deterministic(a.hidden, open.hidden, z.hidden);
  return z;
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
  for (size_t i = 0; i < z.size(); i++) g[i] = static_cast<float>(grad_z[i] * hard_concrete::sample_derivative(z[i]));
  return g;
}

Masks log_alpha_gradient(const Masks& z, const Masks& grad_z) {
  return {chain(z.head, grad_z.head), chain(z.intermediate, grad_z.intermediate), chain(z.hidden, grad_z.hidden)};
}

}  // namespace espalier

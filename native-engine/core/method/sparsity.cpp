#include "method/sparsity.h"

#include "method/hard_concrete.h"
#include "method/masks.h"

namespace espalier {

PrunableSizes prunable_sizes(const ModelConfig& c) {
  const auto d = [](int64_t v) { return static_cast<double>(v); };
  PrunableSizes s;
  s.head = (c.grouped_query() ? 2.0 : 4.0) * d(c.hidden_size) * d(c.head_dim);
  s.intermediate = 3.0 * d(c.hidden_size);
  s.prunable = d(c.layer_count) * (d(c.head_count) * s.head + d(c.intermediate_size) * s.intermediate);
  if (c.grouped_query()) s.stable = d(c.layer_count) * 2.0 * d(c.hidden_size) * d(c.kv_head_count) * d(c.head_dim);
  return s;
}

namespace {

// The open parameters: without hidden masks, and the share of hidden units that is open.
struct OpenSize {
  double parts = 0;         // sum over layers of heads and units, in parameters
  double hidden_share = 0;  // open hidden units / D
};

double sparsity_of(const PrunableSizes& sizes, const OpenSize& open) {
  return 1.0 - (open.parts * open.hidden_share + sizes.stable) / (sizes.prunable + sizes.stable);
}

OpenSize expected_size(const ModelConfig& config, const PrunableSizes& sizes, const LogAlphas& a) {
  OpenSize open;
  open.parts = hard_concrete::expected_open(a.head) * sizes.head + hard_concrete::expected_open(a.intermediate) * sizes.intermediate;
  open.hidden_share = hard_concrete::expected_open(a.hidden) / static_cast<double>(config.hidden_size);
  return open;
}

}  // namespace

double expected_sparsity(const ModelConfig& config, const LogAlphas& a) {
  const PrunableSizes sizes = prunable_sizes(config);
  return sparsity_of(sizes, expected_size(config, sizes, a));
}

void add_sparsity_gradient(const ModelConfig& config, const LogAlphas& a, double slope, Masks& gradient) {
  const PrunableSizes sizes = prunable_sizes(config);
  const OpenSize open = expected_size(config, sizes, a);
  const double by_parts = -slope / (sizes.prunable + sizes.stable);
  const auto add = [&](std::span<const float> log_alpha, double scale, std::vector<float>& out) {
    for (size_t i = 0; i < out.size(); i++) out[i] += static_cast<float>(scale * hard_concrete::open_probability_derivative(log_alpha[i]));
  };
  add(a.head, by_parts * open.hidden_share * sizes.head, gradient.head);
  add(a.intermediate, by_parts * open.hidden_share * sizes.intermediate, gradient.intermediate);
  add(a.hidden, by_parts * open.parts / static_cast<double>(config.hidden_size), gradient.hidden);
}

HardSparsity hard_sparsity(const ModelConfig& config, const LogAlphas& a) {
  const PrunableSizes sizes = prunable_sizes(config);
  const Masks z = deterministic_masks(config, a);
  HardSparsity r;
  OpenSize open;
  for (int64_t l = 0; l < config.layer_count; l++) {
    int32_t heads = 0, units = 0;
    for (int64_t h = 0; h < config.head_count; h++) heads += z.head[l * config.head_count + h] != 0.0f;
    for (int64_t i = 0; i < config.intermediate_size; i++) units += z.intermediate[l * config.intermediate_size + i] != 0.0f;
    open.parts += heads * sizes.head + units * sizes.intermediate;
    r.heads_open.push_back(heads);
    r.units_open.push_back(units);
  }
  for (float v : z.hidden) r.hidden_open += v != 0.0f;
  open.hidden_share = static_cast<double>(r.hidden_open) / static_cast<double>(config.hidden_size);
  r.sparsity = sparsity_of(sizes, open);
  r.expected_sparsity = expected_sparsity(config, a);
  return r;
}

}  // namespace espalier

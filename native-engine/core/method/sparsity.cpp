#include "method/sparsity.h"

#include <algorithm>
#include <cmath>

#include "method/hard_concrete.h"
#include "method/masks.h"

namespace espalier {

Cost cost_from(const std::array<double, kCostNumbers>& n) { return {n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7]}; }

std::array<double, kCostNumbers> numbers_of(const Cost& c) {
  return {c.head, c.unit, c.kv, c.rest, c.head_alone, c.unit_alone, c.kv_alone, c.rest_alone};
}

bool is_cost(const Cost& cost) {
  const auto numbers = numbers_of(cost);
  return std::all_of(numbers.begin(), numbers.end(), [](double v) { return std::isfinite(v) && v >= 0; }) && cost.head > 0 && cost.unit > 0;
}

PrunableSizes prunable_sizes(const ModelConfig& c) {
  const auto d = [](int64_t v) { return static_cast<double>(v); };
  PrunableSizes s;
  s.head = (c.grouped_query() ? 2.0 : 4.0) * d(c.hidden_size) * d(c.head_dim);
  s.intermediate = 3.0 * d(c.hidden_size);
  s.prunable = d(c.layer_count) * (d(c.head_count) * s.head + d(c.intermediate_size) * s.intermediate);
  if (c.grouped_query()) s.stable = d(c.layer_count) * 2.0 * d(c.hidden_size) * d(c.kv_head_count) * d(c.head_dim);
  return s;
}

CostRule::CostRule(const ModelConfig& c, const ShapeTarget& shape) : hidden_size_(static_cast<double>(c.hidden_size)) {
  if (!shape.cost) {
    const PrunableSizes sizes = prunable_sizes(c);
    per_.head = sizes.head;
    per_.unit = sizes.intermediate;
    per_.rest_alone = sizes.stable;
    all_ = sizes.prunable + sizes.stable;
    return;
  }
  per_ = *shape.cost;
  const auto in_all = [&](int64_t each) { return static_cast<double>(c.layer_count * each); };
  const OpenGates intact{in_all(c.head_count), in_all(c.intermediate_size), in_all(c.kv_head_count), hidden_size_};
  all_ = in_proportion(intact) + alone(intact);
  if (per_.kv == 0 && per_.kv_alone == 0) return;
  kv_heads_.resize(static_cast<size_t>(c.layer_count * c.kv_head_count));
  for (int64_t l = 0; l < c.layer_count; l++)
    for (int64_t h = 0; h < c.head_count; h++)
      kv_heads_[l * c.kv_head_count + c.layers[l].kv_head_of_query[h]].push_back(l * c.head_count + h);
}

OpenGates CostRule::expected(const LogAlphas& a) const {
  using hard_concrete::expected_open;
  OpenGates open{expected_open(a.head), expected_open(a.intermediate), 0, expected_open(a.hidden)};
  for (const auto& queries : kv_heads_) {
    double unread = 1;
    for (const int64_t h : queries) unread *= 1.0 - hard_concrete::open_probability(a.head[h]);
    open.kv += 1.0 - unread;
  }
  return open;
}

double CostRule::kv_read(const std::vector<bool>& open_heads) const {
  const auto read = [&](const auto& queries) {
    return std::any_of(queries.begin(), queries.end(), [&](int64_t h) { return open_heads[h]; });
  };
  return static_cast<double>(std::count_if(kv_heads_.begin(), kv_heads_.end(), read));
}

double CostRule::units_for(const OpenGates& expected, const OpenGates& open) const {
  const double wider = hidden_size_ / open.hidden;
  const double size = in_proportion(expected) * expected.hidden / open.hidden;
  const double left_alone = alone(expected) - open.heads * per_.head_alone - open.kv * per_.kv_alone - per_.rest_alone;
  return (size - open.heads * per_.head - open.kv * per_.kv - per_.rest + left_alone * wider) / (per_.unit + per_.unit_alone * wider);
}

double expected_sparsity(const ModelConfig& config, const LogAlphas& a) {
  const CostRule rule(config, a.shape);
  return rule.sparsity(rule.expected(a));
}

void add_sparsity_gradient(const ModelConfig& config, const LogAlphas& a, double slope, Masks& gradient) {
  const CostRule rule(config, a.shape);
  const Cost& per = rule.per();
  const OpenGates open = rule.expected(a);
  const double share = open.hidden / static_cast<double>(config.hidden_size);
  const double by_cost = -slope / rule.all();
  const auto add = [&](std::span<const float> log_alpha, double scale, std::vector<float>& out) {
    for (size_t i = 0; i < out.size(); i++) out[i] += static_cast<float>(scale * hard_concrete::open_probability_derivative(log_alpha[i]));
  };
  add(a.head, by_cost * share * per.head + by_cost * per.head_alone, gradient.head);
  add(a.intermediate, by_cost * share * per.unit + by_cost * per.unit_alone, gradient.intermediate);
  add(a.hidden, by_cost * rule.in_proportion(open) / static_cast<double>(config.hidden_size), gradient.hidden);
  const double by_kv = by_cost * share * per.kv + by_cost * per.kv_alone;
  for (const auto& queries : rule.kv_heads()) {
    double unread = 1;
    for (const int64_t h : queries) unread *= 1.0 - hard_concrete::open_probability(a.head[h]);
    for (const int64_t h : queries) {
      const double others_closed = unread / (1.0 - hard_concrete::open_probability(a.head[h]));
      gradient.head[h] += static_cast<float>(by_kv * others_closed * hard_concrete::open_probability_derivative(a.head[h]));
    }
  }
}

HardSparsity hard_sparsity(const ModelConfig& config, const LogAlphas& a) {
  const CostRule rule(config, a.shape);
  const Masks z = deterministic_masks(config, a);
  HardSparsity r;
  OpenGates open;
  std::vector<bool> open_heads;
  for (const float v : z.head) open_heads.push_back(v != 0.0f);
  for (int64_t l = 0; l < config.layer_count; l++) {
    int32_t heads = 0, units = 0;
    for (int64_t h = 0; h < config.head_count; h++) heads += open_heads[l * config.head_count + h];
    for (int64_t i = 0; i < config.intermediate_size; i++) units += z.intermediate[l * config.intermediate_size + i] != 0.0f;
    open.heads += heads;
    open.units += units;
    r.heads_open.push_back(heads);
    r.units_open.push_back(units);
  }
  for (float v : z.hidden) r.hidden_open += v != 0.0f;
  open.kv = rule.kv_read(open_heads);
  open.hidden = static_cast<double>(r.hidden_open);
  r.sparsity = rule.sparsity(open);
  r.expected_sparsity = rule.sparsity(rule.expected(a));
  return r;
}

}  // namespace espalier

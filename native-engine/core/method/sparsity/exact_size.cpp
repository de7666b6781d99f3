#include "method/sparsity/exact_size.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "method/masks/masks.h"

namespace espalier {

int64_t able_to_open(std::span<const float> log_alpha) {
  return std::count_if(log_alpha.begin(), log_alpha.end(), [](float a) { return a != kClosed; });
}

OpenGates gates_of(const OpenCounts& open, const ModelConfig& config, const CostRule& rule, std::span<const float> head_log_alphas) {
  double heads = 0;
  for (const int64_t of_layer : open.heads) heads += rule.per().head_curve.at(static_cast<double>(of_layer));
  OpenGates gates{heads, 0, 0, static_cast<double>(open.hidden)};
  if (!rule.counts_kv()) return gates;
  std::vector<bool> is_open;
  for (size_t l = 0; l < open.heads.size(); l++) {
    const auto width = static_cast<size_t>(config.head_count);
    const std::vector<bool> layer = highest(head_log_alphas.subspan(l * width, width), open.heads[l]);
    is_open.insert(is_open.end(), layer.begin(), layer.end());
  }
  gates.kv = rule.kv_read(is_open);
  return gates;
}

double cost_with_units(const CostRule& rule, OpenGates gates, const std::vector<int64_t>& units) {
  for (const int64_t of_layer : units) gates.units += rule.per().unit_curve.at(static_cast<double>(of_layer));
  return rule.cost(gates);
}

GateOrder::GateOrder(size_t layers, std::span<const float> log_alphas) : width_(log_alphas.size() / layers) {
  for (size_t l = 0; l < layers; l++) {
    const auto layer = log_alphas.subspan(l * width_, width_);
    std::vector<float>& values = sorted_.emplace_back(layer.begin(), layer.end());
    std::sort(values.begin(), values.end());
  }
}

std::optional<size_t> GateOrder::change(std::vector<int64_t>& open, bool opens) const {
  // The log-alpha of the layer's next gate to change. The closed gates are those with the lowest log-alphas.
  const auto next = [&](size_t l) { return sorted_[l][width_ - static_cast<size_t>(open[l]) - (opens ? 1 : 0)]; };
  std::optional<size_t> best;
  for (size_t l = 0; l < open.size(); l++) {
    const bool left = opens ? open[l] < able_to_open(sorted_[l]) : open[l] > 0;
    if (left && (!best || (opens ? next(l) > next(*best) : next(l) < next(*best)))) best = l;
  }
  if (best) open[*best] += opens ? 1 : -1;
  return best;
}

namespace {

int64_t sum(const std::vector<int64_t>& counts) { return std::accumulate(counts.begin(), counts.end(), int64_t{0}); }

// Closes or opens units until as many are open as the expected cost has room for.
void fill_up(std::vector<int64_t>& open, const GateOrder& order, const CostRule& rule, const OpenGates& others, double cost) {
  while (cost_with_units(rule, others, open) > cost)
    if (!order.change(open, false)) return;
  while (const auto layer = order.change(open, true)) {
    if (cost_with_units(rule, others, open) <= cost) continue;
    open[*layer] -= 1;
    return;
  }
}

}  // namespace

void make_exact(OpenCounts& open, const ModelConfig& config, const LogAlphas& a, const SettledBlocks& settled) {
  if (open.hidden == 0) return;
  const CostRule rule(config, a.shape, a.gates);
  const double all = static_cast<double>(config.layer_count * config.intermediate_size);
  const OpenGates expected = rule.expected(a);
  const auto layers = static_cast<size_t>(config.layer_count);
  const GateOrder units(layers, settled.intermediate()), heads(layers, settled.head());
  const auto correct_by_units = [&](const OpenGates& others) {
    if (!rule.per().straight()) return fill_up(open.units, units, rule, others, rule.cost(expected));
    const double wanted = std::clamp(std::nearbyint(rule.units_for(expected, others)), 0.0, all);
    int64_t due = static_cast<int64_t>(wanted) - sum(open.units);
    for (const bool opens = due > 0; due != 0; due += opens ? -1 : 1)
      if (!units.change(open.units, opens)) return;
  };
  while (true) {
    const OpenGates others = gates_of(open, config, rule, settled.head());
    correct_by_units(others);
    const double half_unit = rule.per().straight() ? 0.5 * rule.of_a_unit(others) : 0;
    if (sum(open.units) > 0 || cost_with_units(rule, others, open.units) <= rule.cost(expected) + half_unit) return;
    if (sum(open.heads) > 1)
      heads.change(open.heads, false);
    else if (open.hidden > 1)
      open.hidden -= 1;
    else
      return;
  }
}

}  // namespace espalier

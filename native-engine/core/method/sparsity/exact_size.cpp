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

namespace {

// The order in which units open or close, one after the other: first the closed unit with the highest log-alpha, or the open one with the
// lowest. Among equals the unit of the first layer comes first.
class UnitOrder {
 public:
  UnitOrder(const ModelConfig& config, std::span<const float> log_alphas) : width_(static_cast<size_t>(config.intermediate_size)) {
    for (size_t l = 0; l < static_cast<size_t>(config.layer_count); l++) {
      const auto layer = log_alphas.subspan(l * width_, width_);
      std::vector<float>& values = sorted_.emplace_back(layer.begin(), layer.end());
      std::sort(values.begin(), values.end());
    }
  }

  // Changes one unit and returns its layer. Returns nothing where no unit is left to change.
  std::optional<size_t> change(std::vector<int64_t>& open, bool opens) const {
    // The log-alpha of the layer's next unit to change. The closed units are those with the lowest log-alphas.
    const auto next = [&](size_t l) { return sorted_[l][width_ - static_cast<size_t>(open[l]) - (opens ? 1 : 0)]; };
    std::optional<size_t> best;
    for (size_t l = 0; l < open.size(); l++) {
      const bool left = opens ? open[l] < able_to_open(sorted_[l]) : open[l] > 0;
      if (left && (!best || (opens ? next(l) > next(*best) : next(l) < next(*best)))) best = l;
    }
    if (best) open[*best] += opens ? 1 : -1;
    return best;
  }

 private:
  size_t width_;
  std::vector<std::vector<float>> sorted_;
};

// Closes or opens units until as many are open as the expected cost has room for.
void fill_up(std::vector<int64_t>& open, const UnitOrder& order, const CostRule& rule, const OpenGates& others, double cost) {
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
  const OpenGates expected = rule.expected(a), others = gates_of(open, config, rule, settled.head());
  const UnitOrder order(config, settled.intermediate());
  if (!rule.per().straight()) return fill_up(open.units, order, rule, others, rule.cost(expected));
  const double wanted = std::clamp(std::nearbyint(rule.units_for(expected, others)), 0.0, all);
  int64_t due = static_cast<int64_t>(wanted) - std::accumulate(open.units.begin(), open.units.end(), int64_t{0});
  for (const bool opens = due > 0; due != 0; due += opens ? -1 : 1)
    if (!order.change(open.units, opens)) return;
}

}  // namespace espalier

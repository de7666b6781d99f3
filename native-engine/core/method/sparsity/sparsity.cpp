#include "method/sparsity/sparsity.h"

#include <algorithm>
#include <cmath>

#include "base/chunks.h"
#include "method/masks/hard_concrete.h"
#include "method/masks/masks.h"

namespace espalier {

namespace {

// Returns the point at the end of the stretch in which a width lies; the last point for every width beyond it.
size_t end_of_stretch(const WidthCurve& curve, double width) {
  const auto at = std::lower_bound(curve.widths.begin(), curve.widths.end(), width);
  return std::min(static_cast<size_t>(at - curve.widths.begin()), curve.widths.size() - 1);
}

void append(std::vector<double>& numbers, const WidthCurve& curve) {
  numbers.push_back(static_cast<double>(curve.widths.size()));
  for (size_t i = 0; i < curve.widths.size(); i++) numbers.insert(numbers.end(), {curve.widths[i], curve.parts[i]});
}

// Takes a curve off the front of the numbers. Returns false where they don't begin with a curve that rises.
bool take_curve(std::span<const double>& numbers, WidthCurve& curve) {
  if (numbers.empty() || numbers[0] < 0 || 2 * numbers[0] > static_cast<double>(numbers.size() - 1)) return false;
  const auto count = static_cast<size_t>(numbers[0]);
  if (static_cast<double>(count) != numbers[0]) return false;
  for (size_t i = 0; i < count; i++) {
    const double width = numbers[1 + 2 * i], parts = numbers[2 + 2 * i];
    if (width <= (i > 0 ? curve.widths.back() : 0.0) || parts < (i > 0 ? curve.parts.back() : 0.0)) return false;
    curve.widths.push_back(width);
    curve.parts.push_back(parts);
  }
  numbers = numbers.subspan(1 + 2 * count);
  return count == 0 || curve.widths.back() == curve.parts.back();
}

}  // namespace

double WidthCurve::at(double width) const {
  if (widths.empty()) return width;
  const size_t i = end_of_stretch(*this, width);
  return parts[i] - (widths[i] - width) * slope(width);
}

double WidthCurve::slope(double width) const {
  if (widths.empty()) return 1.0;
  const size_t i = end_of_stretch(*this, width);
  return i == 0 ? parts[0] / widths[0] : (parts[i] - parts[i - 1]) / (widths[i] - widths[i - 1]);
}

std::vector<double> numbers_of(const Cost& c) {
  std::vector<double> numbers{c.head, c.unit, c.kv, c.rest, c.head_alone, c.unit_alone, c.kv_alone, c.rest_alone};
  if (c.straight()) return numbers;
  for (const WidthCurve* curve : {&c.head_curve, &c.unit_curve, &c.kv_curve}) append(numbers, *curve);
  return numbers;
}

std::optional<Cost> cost_from(std::span<const double> n) {
  if (n.size() < kCostNumbers || !std::all_of(n.begin(), n.end(), [](double v) { return std::isfinite(v) && v >= 0; })) return std::nullopt;
  Cost cost{n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], {}, {}, {}};
  if (cost.head + cost.head_alone <= 0 || cost.unit + cost.unit_alone <= 0) return std::nullopt;
  std::span<const double> left = n.subspan(kCostNumbers);
  if (left.empty()) return cost.head > 0 && cost.unit > 0 ? std::optional(cost) : std::nullopt;
  for (WidthCurve* curve : {&cost.head_curve, &cost.unit_curve, &cost.kv_curve})
    if (!take_curve(left, *curve)) return std::nullopt;
  return left.empty() && !cost.straight() ? std::optional(cost) : std::nullopt;
}

PrunableSizes prunable_sizes(const ModelConfig& c, const BlockGates& gates) {
  const auto d = [](int64_t v) { return static_cast<double>(v); };
  PrunableSizes s;
  s.head = (c.grouped_query() ? 2.0 : 4.0) * d(c.hidden_size) * d(c.head_dim);
  s.intermediate = 3.0 * d(c.hidden_size);
  s.prunable = d(c.layer_count) * (d(c.head_count) * s.head + d(c.intermediate_size) * s.intermediate);
  if (!c.grouped_query()) return s;
  const double kv = 2.0 * d(c.hidden_size) * d(c.head_dim), all_kv = d(c.layer_count * c.kv_head_count) * kv;
  const bool go = gates.kv_group || gates.attention;
  if (go) s.kv = kv;
  (go ? s.prunable : s.stable) += all_kv;
  return s;
}

CostRule::CostRule(const ModelConfig& c, const ShapeTarget& shape, const BlockGates& gates)
    : config_(c), gates_(gates), hidden_size_(static_cast<double>(c.hidden_size)) {
  if (shape.cost) {
    per_ = *shape.cost;
    const auto in_all = [&](int64_t each) { return static_cast<double>(c.layer_count * each); };
    const OpenGates intact{in_all(c.head_count), in_all(c.intermediate_size), in_all(c.kv_head_count), hidden_size_};
    all_ = in_proportion(intact) + alone(intact);
  } else {
    const PrunableSizes sizes = prunable_sizes(c, gates);
    per_.head = sizes.head;
    per_.unit = sizes.intermediate;
    per_.kv = sizes.kv;
    per_.rest_alone = sizes.stable;
    all_ = sizes.prunable + sizes.stable;
  }
  if (per_.kv == 0 && per_.kv_alone == 0) return;
  kv_heads_.resize(static_cast<size_t>(c.layer_count * c.kv_head_count));
  for (int64_t l = 0; l < c.layer_count; l++)
    for (int64_t h = 0; h < c.head_count; h++)
      kv_heads_[l * c.kv_head_count + c.layers[l].kv_head_of_query[h]].push_back(l * c.head_count + h);
}

GateProbabilities::GateProbabilities(const LogAlphas& a) {
  const auto log_alphas = kinds_of(a);
  for (size_t kind = 0; kind < log_alphas.size(); kind++) {
    std::vector<Probability>& gates = kinds_[kind];
    gates.resize(log_alphas[kind].size());
    for_each_in_chunks(static_cast<int64_t>(gates.size()), kGatesTogether, [&](int64_t i) {
      const double closed = hard_concrete::closed_probability(log_alphas[kind][i]);
      gates[i] = {hard_concrete::opposite(closed), hard_concrete::slope_at(closed)};
    });
  }
}

OpenGates CostRule::expected(const GateProbabilities& gates) const {
  const OpenSums open = sums(gates.without_slopes());
  return {open.heads.open, open.units.open, open.kv.open, open.hidden.open};
}

CurveSlopes CostRule::slopes(const GateProbabilities& gates) const {
  const auto layers = static_cast<size_t>(config_.layer_count);
  if (per_.straight()) return {std::vector<double>(layers, 1.0), std::vector<double>(layers, 1.0), std::vector<double>(layers, 1.0)};
  CurveSlopes slopes;
  add_up(
      gates.without_slopes(),
      [&](const Probability& heads, const Probability& units) {
        slopes.head.push_back(per_.head_curve.slope(heads.open));
        slopes.unit.push_back(per_.unit_curve.slope(units.open));
      },
      [&](const Probability& kv) { slopes.kv.push_back(per_.kv_curve.slope(kv.open)); });
  return slopes;
}

double CostRule::kv_read(const std::vector<bool>& open_heads) const {
  const auto each = static_cast<size_t>(config_.kv_head_count);
  double all = 0, of_layer = 0;
  for (size_t k = 0; k < kv_heads_.size(); k++) {
    of_layer += std::any_of(kv_heads_[k].begin(), kv_heads_[k].end(), [&](int64_t h) { return open_heads[h]; });
    if ((k + 1) % each != 0) continue;
    all += per_.kv_curve.at(of_layer);
    of_layer = 0;
  }
  return all;
}

double CostRule::units_for(const OpenGates& expected, const OpenGates& open) const {
  if (!per_.straight()) {
    const auto layers = static_cast<double>(config_.layer_count);
    const auto cost_with = [&](double units) {
      OpenGates with = open;
      with.units = layers * per_.unit_curve.at(units / layers);
      return cost(with);
    };
    double low = 0, high = layers * static_cast<double>(config_.intermediate_size);
    for (int i = 0; i < 60; i++) {
      const double middle = (low + high) / 2;
      (cost_with(middle) > cost(expected) ? high : low) = middle;
    }
    return low;
  }
  const double wider = hidden_size_ / open.hidden;
  const double size = in_proportion(expected) * expected.hidden / open.hidden;
  const double left_alone = alone(expected) - open.heads * per_.head_alone - open.kv * per_.kv_alone - per_.rest_alone;
  return (size - open.heads * per_.head - open.kv * per_.kv - per_.rest + left_alone * wider) / (per_.unit + per_.unit_alone * wider);
}

ExpectedSparsity::ExpectedSparsity(const ModelConfig& config, const LogAlphas& a)
    : config_(config),
      block_gates_(a.gates),
      rule_(config, a.shape, a.gates),
      gates_(a),
      open_(rule_.expected(gates_)),
      curves_(rule_.slopes(gates_)) {}

void ExpectedSparsity::add_gradient(double slope, Masks& gradient) const {
  const Cost& per = rule_.per();
  const double share = open_.hidden / static_cast<double>(config_.hidden_size);
  const double by_cost = -slope / rule_.all();
  const auto gate = gates_.without_slopes();
  const auto add = [&](GateKind kind, size_t i, double scale, float& out) { out += static_cast<float>(scale * gates_.of(kind, i).slope); };
  const double by_head = by_cost * share * per.head + by_cost * per.head_alone;
  const double by_unit = by_cost * share * per.unit + by_cost * per.unit_alone;
  const double by_hidden = by_cost * rule_.in_proportion(open_) / static_cast<double>(config_.hidden_size);
  const double by_kv = by_cost * share * per.kv + by_cost * per.kv_alone;
  const auto heads = static_cast<size_t>(config_.head_count), groups = static_cast<size_t>(config_.kv_head_count);
  const auto units = static_cast<size_t>(config_.intermediate_size);
  // The gradient by the probability that a block is open.
  std::vector<double> by_group(static_cast<size_t>(config_.layer_count) * groups, 0.0);
  std::vector<double> by_mlp(static_cast<size_t>(config_.layer_count), 0.0);
  for (size_t i = 0; i < gradient.head.size(); i++) {
    const size_t l = i / heads, group = l * groups + static_cast<size_t>(config_.layers[l].kv_head_of_query[i % heads]);
    const double by = by_head * curves_.head[l];
    add(GateKind::kHead, i, by * rule_.block_of_group(gate, group).open, gradient.head[i]);
    by_group[group] += by * gates_.open(GateKind::kHead, i);
  }
  const int64_t layers_together = std::max<int64_t>(1, kGatesTogether / std::max<int64_t>(1, config_.intermediate_size));
  for_each_in_chunks(config_.layer_count, layers_together, [&](int64_t layer) {
    const auto l = static_cast<size_t>(layer);
    const double by = by_unit * curves_.unit[l], scale = by * rule_.block_of_units(gate, l).open;
    for (size_t i = l * units; i < (l + 1) * units; i++) {
      add(GateKind::kUnit, i, scale, gradient.intermediate[i]);
      by_mlp[l] += by * gates_.open(GateKind::kUnit, i);
    }
  });
  for (size_t i = 0; i < gradient.hidden.size(); i++) add(GateKind::kHidden, i, by_hidden, gradient.hidden[i]);
  for (size_t k = 0; k < rule_.kv_heads().size(); k++) {
    const auto& queries = rule_.kv_heads()[k];
    double unread = 1;
    for (const int64_t h : queries) unread *= 1.0 - gates_.open(GateKind::kHead, static_cast<size_t>(h));
    const double by = by_kv * curves_.kv[k / groups];
    const double by_read = by * rule_.block_of_group(gate, k).open;
    for (const int64_t h : queries) {
      const auto head = static_cast<size_t>(h);
      const double others_closed = unread / (1.0 - gates_.open(GateKind::kHead, head));
      add(GateKind::kHead, head, by_read * others_closed, gradient.head[head]);
    }
    by_group[k] += by * (1.0 - unread);
  }
  // A group lies under two gates, its own and its layer's. The gradient by one is multiplied by the probability of the other.
  for (size_t k = 0; k < by_group.size(); k++) {
    const size_t l = k / groups;
    if (block_gates_.kv_group)
      add(GateKind::kKvGroup, k, by_group[k] * (block_gates_.attention ? gates_.open(GateKind::kAttention, l) : 1.0), gradient.kv_group[k]);
    if (block_gates_.attention)
      add(GateKind::kAttention, l, by_group[k] * (block_gates_.kv_group ? gates_.open(GateKind::kKvGroup, k) : 1.0), gradient.attention[l]);
  }
  for (size_t l = 0; l < gradient.mlp.size(); l++) add(GateKind::kMlp, l, by_mlp[l], gradient.mlp[l]);
}

HardSparsity hard_sparsity(const ModelConfig& config, const LogAlphas& a, const Masks& z) {
  const CostRule rule(config, a.shape, a.gates);
  HardSparsity r;
  OpenGates open;
  std::vector<bool> open_heads;
  for (const float v : z.head) open_heads.push_back(v != 0.0f);
  for (int64_t l = 0; l < config.layer_count; l++) {
    int32_t heads = 0, units = 0;
    for (int64_t h = 0; h < config.head_count; h++) heads += open_heads[l * config.head_count + h];
    for (int64_t i = 0; i < config.intermediate_size; i++) units += z.intermediate[l * config.intermediate_size + i] != 0.0f;
    open.heads += rule.per().head_curve.at(heads);
    open.units += rule.per().unit_curve.at(units);
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

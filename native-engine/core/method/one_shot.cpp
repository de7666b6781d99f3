#include "method/one_shot.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "espalier/base/error.h"
#include "files/number_formats.h"
#include "method/masks/masks.h"
#include "method/sparsity/sparsity.h"

namespace espalier {

namespace {

// A log-alpha so far from 0 that its gate is surely open or closed: the deterministic mask is exactly 0 or 1 in f32.
constexpr float kSure = 30.0f;
constexpr double kRounding = 1e-9;  // the allowed rounding error of counts

double row_squares(const WeightView& w, int64_t row) {
  double sum = 0;
  for (int64_t j = 0; j < w.cols; j++) {
    const double v = decode(w.data, w.dtype, row * w.cols + j);
    sum += v * v;
  }
  return sum;
}

template <class F>
std::vector<double> column_sums(const WeightView& w, F&& of) {
  std::vector<double> sums(w.cols, 0.0);
  for (int64_t i = 0; i < w.rows; i++)
    for (int64_t j = 0; j < w.cols; j++) sums[j] += of(static_cast<double>(decode(w.data, w.dtype, i * w.cols + j)));
  return sums;
}

// Returns the indices from the least important to the most important, or the other way with std::greater; equal ones keep their order.
template <class Before = std::less<>>
std::vector<int32_t> ranked(const double* importance, int64_t count, Before before = {}) {
  std::vector<int32_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t i, int32_t j) { return before(importance[i], importance[j]); });
  return order;
}

// The costs of parts while all hidden units are open.
struct PartCosts {
  double head = 0, unit = 0, kv = 0, attention = 0, mlp = 0;
  PartCosts(const ModelConfig& c, const Cost& per)
      : head(per.head + per.head_alone), unit(per.unit + per.unit_alone), kv(per.kv + per.kv_alone) {
    const auto d = [](int64_t v) { return static_cast<double>(v); };
    attention = d(c.head_count) * head + d(c.kv_head_count) * kv;
    mlp = d(c.intermediate_size) * unit;
  }
};

// The blocks of a layer that stay.
struct KeptBlocks {
  bool attention = true, mlp = true;
  bool any() const { return attention || mlp; }
  double cost(const PartCosts& costs) const { return (attention ? costs.attention : 0) + (mlp ? costs.mlp : 0); }
};

// Returns how many key/value heads of a layer no query reads after the first `closed` heads of `order` are closed.
int64_t kv_unread(const ModelConfig& c, int64_t layer, const std::vector<int32_t>& order, int64_t closed) {
  std::vector<bool> read(static_cast<size_t>(c.kv_head_count), false);
  for (int64_t i = closed; i < c.head_count; i++) read[c.layers[layer].kv_head_of_query[order[i]]] = true;
  return std::count(read.begin(), read.end(), false);
}

struct ClosedParts {
  int64_t heads = 0, units = 0;
  double cost = 0;
};

int64_t share_of(double share, int64_t count) {
  return std::clamp<int64_t>(static_cast<int64_t>(share * static_cast<double>(count) + kRounding), 0, count);
}

// Returns the numbers of heads and units of one layer to close so that `wanted` is gone. `order` begins with the least important heads.
ClosedParts closed_in_layer(const ModelConfig& c, const PartCosts& costs, const KeptBlocks& kept, int64_t layer,
                            const std::vector<int32_t>& order, double wanted) {
  ClosedParts closed;
  if (kept.attention) {
    closed.heads = share_of(wanted / kept.cost(costs), c.head_count);
    closed.cost = static_cast<double>(closed.heads) * costs.head + static_cast<double>(kv_unread(c, layer, order, closed.heads)) * costs.kv;
  }
  if (kept.mlp) {
    const double left = wanted - closed.cost;
    closed.units = std::clamp<int64_t>(static_cast<int64_t>(std::ceil(left / costs.unit - kRounding)), 0, c.intermediate_size);
    closed.cost += static_cast<double>(closed.units) * costs.unit;
  }
  return closed;
}

// Closes gates of blocks, from the least important layer on, while the closed cost stays within `wanted`. Returns the closed cost.
double close_blocks(const ModelConfig& c, const BlockGates& gates, const PartCosts& costs, const GateImportance& importance, double wanted,
                    Masks& log_alphas, std::vector<KeptBlocks>& kept) {
  if (!gates.attention && !gates.mlp) return 0;
  const KeptBlocks without{!gates.attention, !gates.mlp};
  const double each = costs.attention + costs.mlp - without.cost(costs);
  double removed = 0;
  const std::vector<int32_t> order = ranked(importance.layer.data(), c.layer_count);
  for (int64_t i = 0; i + 1 < c.layer_count && removed + each <= wanted * (1 + kRounding); i++) {
    const auto l = static_cast<size_t>(order[i]);
    kept[l] = without;
    if (gates.attention) log_alphas.attention[l] = -kSure;
    if (gates.mlp) log_alphas.mlp[l] = -kSure;
    removed += each;
  }
  return removed;
}

// Returns a layer's heads from the least important on. The heads of the groups that `share` closes, which are the least important ones,
// come first.
std::vector<int32_t> heads_after_groups(const ModelConfig& c, int64_t layer, const GateImportance& importance, double share,
                                        std::span<float> group_log_alphas) {
  std::vector<int32_t> heads = ranked(importance.head.data() + layer * c.head_count, c.head_count);
  if (group_log_alphas.empty()) return heads;
  const std::vector<int32_t>& group_of = c.layers[layer].kv_head_of_query;
  std::vector<double> rating(importance.kv_group.begin() + layer * c.kv_head_count,
                             importance.kv_group.begin() + (layer + 1) * c.kv_head_count);
  for (int64_t h = 0; h < c.head_count; h++) rating[group_of[h]] += importance.head[layer * c.head_count + h];
  const std::vector<int32_t> groups = ranked(rating.data(), c.kv_head_count);
  std::vector<int64_t> place(groups.size(), c.kv_head_count);
  for (int64_t i = 0; i < share_of(share, c.kv_head_count); i++) {
    place[groups[i]] = i;
    group_log_alphas[groups[i]] = -kSure;
  }
  std::stable_sort(heads.begin(), heads.end(), [&](int32_t a, int32_t b) { return place[group_of[a]] < place[group_of[b]]; });
  return heads;
}

double wanted_cost(const ModelConfig& c, const ShapeTarget& shape, const CostRule& rule, const PartCosts& costs, double sparsity) {
  const double wanted = sparsity * rule.all(), most = static_cast<double>(c.layer_count) * (costs.attention + costs.mlp);
  if (wanted <= most) return wanted;
  throw Error(ErrorCode::kInvalidArgument, "scheduled_sparsity",
              "is " + std::to_string(sparsity) + ": all heads and units together are " + std::to_string(most / rule.all()) + " of the " +
                  (shape.cost ? "cost" : "prunable parameters"));
}

// Tells whether the log-alphas reach the sparsity. No gate has a probability of exactly 0 or 1, so the expected sparsity may be a millionth
// smaller than the closed gates are.
bool reaches(const ModelConfig& c, const ShapeTarget& shape, const BlockGates& gates, const Masks& log_alphas, double sparsity) {
  const std::vector<float> all = in_a_row(log_alphas);
  return expected_sparsity(c, LogAlphas(StateLayout(c, LoraSpec{}, gates), all, shape)) >= sparsity;
}

// A part of a layer that closes as a whole: `count` gates from `first` on, in the list of heads or of units of all layers.
struct Part {
  bool unit = false;
  int64_t first = 0, count = 1;
  double cost = 0, rating = 0;
};

// Returns the parts of all layers, beginning with the smallest rating for its cost; equal ones keep their order.
std::vector<Part> ranked_parts(const ModelConfig& c, const PartCosts& costs, const GateImportance& importance) {
  const int64_t together = c.head_count / c.kv_head_count;
  std::vector<Part> parts;
  for (int64_t l = 0; l < c.layer_count; l++) {
    for (int64_t h = 0; h < c.head_count; h += together) {
      Part& part = parts.emplace_back(Part{false, l * c.head_count + h, together, costs.kv + static_cast<double>(together) * costs.head});
      for (int64_t i = 0; i < together; i++) part.rating += importance.head[part.first + i];
    }
    for (int64_t i = 0; i < c.intermediate_size; i++) {
      const int64_t at = l * c.intermediate_size + i;
      parts.push_back({true, at, 1, costs.unit, importance.intermediate[at]});
    }
  }
  std::stable_sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.rating * b.cost < b.rating * a.cost; });
  return parts;
}

// The share that is to close, and the model and costs that it is counted by.
struct OneShotTarget {
  const ModelConfig& config;
  const ShapeTarget& shape;
  const BlockGates& gates;
  const PartCosts& costs;
  double sparsity, wanted;  // the share that goes, and its cost
};

void close_within_layers(const OneShotTarget& target, const GateImportance& importance, Masks& a) {
  const auto& [c, shape, gates, costs, sparsity, wanted] = target;
  std::vector<KeptBlocks> kept(c.layer_count);
  const double by_blocks = close_blocks(c, gates, costs, importance, wanted, a, kept);
  const auto layers_left = static_cast<double>(std::count_if(kept.begin(), kept.end(), [](const KeptBlocks& k) { return k.any(); }));
  std::vector<int64_t> units_closed(c.layer_count, 0);
  std::vector<std::vector<int32_t>> units(c.layer_count);
  double removed = 0, layers_seen = 0;
  // Units compensate for the size of heads, so layers that have units come last.
  std::vector<int64_t> order;
  for (const bool mlp : {false, true})
    for (int64_t l = 0; l < c.layer_count; l++)
      if (kept[l].any() && kept[l].mlp == mlp) order.push_back(l);
  for (const int64_t l : order) {
    const double share = ++layers_seen / layers_left;
    const double due = std::max(0.0, (wanted - by_blocks) * share - removed);
    const std::span<float> groups =
        kept[l].attention && gates.kv_group ? std::span(a.kv_group).subspan(l * c.kv_head_count, c.kv_head_count) : std::span<float>{};
    const std::vector<int32_t> heads = heads_after_groups(c, l, importance, due / kept[l].cost(costs), groups);
    const ClosedParts closed = closed_in_layer(c, costs, kept[l], l, heads, due);
    removed += closed.cost;
    units[l] = ranked(importance.intermediate.data() + l * c.intermediate_size, c.intermediate_size);
    for (int64_t i = 0; i < closed.heads; i++) a.head[l * c.head_count + heads[i]] = -kSure;
    for (int64_t i = 0; i < closed.units; i++) a.intermediate[l * c.intermediate_size + units[l][i]] = -kSure;
    units_closed[l] = closed.units;
  }
  for (int64_t l = c.layer_count - 1; l >= 0 && !reaches(c, shape, gates, a, sparsity); l--)
    if (kept[l].mlp && units_closed[l] < c.intermediate_size)
      a.intermediate[l * c.intermediate_size + units[l][units_closed[l]++]] = -kSure;
}

// Closes the gates of key/value heads that no open head reads, and of blocks without an open part.
void close_empty_blocks(const ModelConfig& c, const BlockGates& gates, Masks& a) {
  const int64_t together = c.head_count / c.kv_head_count;
  const auto all_closed = [](auto first, int64_t count) { return std::all_of(first, first + count, [](float v) { return v < 0; }); };
  for (int64_t l = 0; l < c.layer_count; l++) {
    const auto heads = a.head.begin() + l * c.head_count;
    if (gates.kv_group)
      for (int64_t g = 0; g < c.kv_head_count; g++)
        if (all_closed(heads + g * together, together)) a.kv_group[l * c.kv_head_count + g] = -kSure;
    if (gates.attention && all_closed(heads, c.head_count)) a.attention[l] = -kSure;
    if (gates.mlp && all_closed(a.intermediate.begin() + l * c.intermediate_size, c.intermediate_size)) a.mlp[l] = -kSure;
  }
}

void close_over_layers(const OneShotTarget& target, const GateImportance& importance, Masks& a) {
  const auto& [c, shape, gates, costs, sparsity, wanted] = target;
  const auto close = [&](const Part& part) { std::fill_n((part.unit ? a.intermediate : a.head).begin() + part.first, part.count, -kSure); };
  double removed = 0;
  std::vector<Part> open;
  for (const Part& part : ranked_parts(c, costs, importance)) {
    // A head that would overshoot stays, and units close in its place.
    if (removed >= wanted * (1 - kRounding) || (!part.unit && removed + part.cost > wanted + costs.unit)) {
      open.push_back(part);
      continue;
    }
    close(part);
    removed += part.cost;
  }
  for (size_t i = 0; i < open.size() && !reaches(c, shape, gates, a, sparsity); i++)
    if (open[i].unit) close(open[i]);
  close_empty_blocks(c, gates, a);
}

void check_widths(const ModelConfig& c, const std::vector<KeptParts>& layers) {
  const auto refuse = [](const std::string& field, const std::string& what) {
    throw Error(ErrorCode::kInvalidArgument, "one_shot.layers" + field, what);
  };
  if (static_cast<int64_t>(layers.size()) != c.layer_count)
    refuse("", "has " + std::to_string(layers.size()) + " layers, but the model has " + std::to_string(c.layer_count));
  const int64_t together = c.head_count / c.kv_head_count;
  for (size_t l = 0; l < layers.size(); l++) {
    const std::string field = "[" + std::to_string(l) + "]";
    const auto& [heads, units] = layers[l];
    if (heads < 0 || heads > c.head_count || heads % together != 0)
      refuse(field + ".heads", "is " + std::to_string(heads) + ": must be a multiple of " + std::to_string(together) + " up to " +
                                   std::to_string(c.head_count));
    if (units < 0 || units > c.intermediate_size)
      refuse(field + ".units", "is " + std::to_string(units) + ": must be from 0 to " + std::to_string(c.intermediate_size));
  }
}

}  // namespace

Masks open_log_alphas(const ModelConfig& c, const BlockGates& gates) {
  Masks a{std::vector<float>(c.layer_count * c.head_count, kSure), std::vector<float>(c.layer_count * c.intermediate_size, kSure),
          std::vector<float>(c.hidden_size, kSure)};
  if (gates.kv_group) a.kv_group.assign(c.layer_count * c.kv_head_count, kSure);
  if (gates.attention) a.attention.assign(c.layer_count, kSure);
  if (gates.mlp) a.mlp.assign(c.layer_count, kSure);
  return a;
}

std::vector<int32_t> groups_by_rating(const ModelConfig& c, const GateImportance& importance, int64_t layer) {
  const int64_t together = c.head_count / c.kv_head_count;
  std::vector<double> ratings(static_cast<size_t>(c.kv_head_count));
  for (int64_t h = 0; h < c.head_count; h++) ratings[h / together] += importance.head[layer * c.head_count + h];
  return ranked(ratings.data(), c.kv_head_count, std::greater<>{});
}

std::vector<int32_t> units_by_rating(const ModelConfig& c, const GateImportance& importance, int64_t layer) {
  return ranked(importance.intermediate.data() + layer * c.intermediate_size, c.intermediate_size, std::greater<>{});
}

Masks log_alphas_of_widths(const ModelConfig& c, const BlockGates& gates, const GateImportance& importance,
                           const std::vector<KeptParts>& layers) {
  check_widths(c, layers);
  Masks a = open_log_alphas(c, gates);
  const int64_t together = c.head_count / c.kv_head_count;
  for (int64_t l = 0; l < c.layer_count; l++) {
    const std::vector<int32_t> groups = groups_by_rating(c, importance, l), units = units_by_rating(c, importance, l);
    for (int64_t i = layers[l].heads / together; i < c.kv_head_count; i++)
      std::fill_n(a.head.begin() + l * c.head_count + groups[i] * together, together, -kSure);
    for (int64_t i = layers[l].units; i < c.intermediate_size; i++) a.intermediate[l * c.intermediate_size + units[i]] = -kSure;
  }
  close_empty_blocks(c, gates, a);
  return a;
}

GateImportance magnitude_importance(const ModelWeights& model) {
  const ModelConfig& c = model.config();
  GateImportance out;
  for (int64_t l = 0; l < c.layer_count; l++) {
    const auto& proj = model.layer(l).proj;
    const auto square = [](double v) { return v * v; };
    const std::vector<double> o = column_sums(proj[kO], square), down = column_sums(proj[kDown], square);
    for (int64_t h = 0; h < c.head_count; h++) {
      double sum = 0;
      for (int64_t r = h * c.head_dim; r < (h + 1) * c.head_dim; r++) {
        sum += row_squares(proj[kQ], r) + o[r];
        if (!c.grouped_query()) sum += row_squares(proj[kK], r) + row_squares(proj[kV], r);
      }
      out.head.push_back(std::sqrt(sum));
    }
    for (int64_t g = 0; g < c.kv_head_count; g++) {
      double sum = 0;
      for (int64_t r = g * c.head_dim; r < (g + 1) * c.head_dim; r++) sum += row_squares(proj[kK], r) + row_squares(proj[kV], r);
      out.kv_group.push_back(std::sqrt(sum));
    }
    for (int64_t i = 0; i < c.intermediate_size; i++)
      out.intermediate.push_back(std::sqrt(row_squares(proj[kGate], i) + row_squares(proj[kUp], i) + down[i]));
  }
  return out;
}

GateImportance wanda_importance(const ModelWeights& model, const InputSquares& squares) {
  const ModelConfig& c = model.config();
  const int64_t width = c.head_count * c.head_dim;
  GateImportance out;
  for (int64_t l = 0; l < c.layer_count; l++) {
    const auto absolute = [](double v) { return std::abs(v); };
    const std::vector<double> o = column_sums(model.layer(l).proj[kO], absolute), down = column_sums(model.layer(l).proj[kDown], absolute);
    for (int64_t h = 0; h < c.head_count; h++) {
      double sum = 0;
      for (int64_t j = h * c.head_dim; j < (h + 1) * c.head_dim; j++) sum += std::sqrt(squares.heads[l * width + j]) * o[j];
      out.head.push_back(sum);
    }
    for (int64_t i = 0; i < c.intermediate_size; i++)
      out.intermediate.push_back(std::sqrt(squares.units[l * c.intermediate_size + i]) * down[i]);
  }
  return out;
}

Masks one_shot_log_alphas(const ModelConfig& c, const ShapeTarget& shape, const BlockGates& gates, const GateImportance& importance,
                          double sparsity) {
  const CostRule rule(c, shape, gates);
  const PartCosts costs(c, rule.per());
  const double wanted = wanted_cost(c, shape, rule, costs, sparsity);
  Masks a = open_log_alphas(c, gates);
  const OneShotTarget target{c, shape, gates, costs, sparsity, wanted};
  (importance.over_layers ? close_over_layers : close_within_layers)(target, importance, a);
  return a;
}

}  // namespace espalier

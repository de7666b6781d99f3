#include "method/one_shot.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "espalier/error.h"
#include "files/number_formats.h"
#include "method/sparsity.h"

namespace espalier {

namespace {

// A log-alpha so far from 0 that a gate is surely open or closed: the deterministic mask is 1 in f32.
constexpr float kSure = 30.0f;
constexpr double kRounding = 1e-9;  // of counts

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

// Indices from the least important to the most; equal ones in their order.
std::vector<int32_t> ranked(const double* importance, int64_t count) {
  std::vector<int32_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t i, int32_t j) { return importance[i] < importance[j]; });
  return order;
}

// Costs of parts while all hidden units are open.
struct PartCosts {
  double head = 0, unit = 0, kv = 0, layer = 0;
  PartCosts(const ModelConfig& c, const Cost& per)
      : head(per.head + per.head_alone), unit(per.unit + per.unit_alone), kv(per.kv + per.kv_alone) {
    const auto d = [](int64_t v) { return static_cast<double>(v); };
    layer = d(c.head_count) * head + d(c.intermediate_size) * unit + d(c.kv_head_count) * kv;
  }
};

// Key/value heads of a layer that no query reads without its `closed` first heads of `order`.
int64_t kv_unread(const ModelConfig& c, int64_t layer, const std::vector<int32_t>& order, int64_t closed) {
  std::vector<bool> read(static_cast<size_t>(c.kv_head_count), false);
  for (int64_t i = closed; i < c.head_count; i++) read[c.layers[layer].kv_head_of_query[order[i]]] = true;
  return std::count(read.begin(), read.end(), false);
}

struct ClosedParts {
  int64_t heads = 0, units = 0;
  double cost = 0;
};

// The number of heads and units that cost `wanted` in one layer, whose least important heads come first in `order`.
ClosedParts closed_in_layer(const ModelConfig& c, const PartCosts& costs, int64_t layer, const std::vector<int32_t>& order, double wanted) {
  ClosedParts closed;
  const double share = wanted / costs.layer;
  closed.heads = std::clamp<int64_t>(static_cast<int64_t>(share * static_cast<double>(c.head_count) + kRounding), 0, c.head_count);
  const double by_heads =
      static_cast<double>(closed.heads) * costs.head + static_cast<double>(kv_unread(c, layer, order, closed.heads)) * costs.kv;
  const double left = wanted - by_heads;
  closed.units = std::clamp<int64_t>(static_cast<int64_t>(std::ceil(left / costs.unit - kRounding)), 0, c.intermediate_size);
  closed.cost = by_heads + static_cast<double>(closed.units) * costs.unit;
  return closed;
}

}  // namespace

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

Masks one_shot_log_alphas(const ModelConfig& c, const ShapeTarget& shape, const GateImportance& importance, double sparsity) {
  const CostRule rule(c, shape);
  const PartCosts costs(c, rule.per());
  const double wanted = sparsity * rule.all(), most = static_cast<double>(c.layer_count) * costs.layer;
  if (wanted > most)
    throw Error(ErrorCode::kInvalidArgument, "scheduled_sparsity",
                "is " + std::to_string(sparsity) + ": all heads and units together are " + std::to_string(most / rule.all()) + " of the " +
                    (shape.cost ? "cost" : "prunable parameters"));
  Masks a{std::vector<float>(c.layer_count * c.head_count, kSure), std::vector<float>(c.layer_count * c.intermediate_size, kSure),
          std::vector<float>(c.hidden_size, kSure)};
  std::vector<int64_t> units_closed(c.layer_count, 0);
  std::vector<std::vector<int32_t>> units(c.layer_count);
  double removed = 0;
  for (int64_t l = 0; l < c.layer_count; l++) {
    const double share = static_cast<double>(l + 1) / static_cast<double>(c.layer_count);
    const std::vector<int32_t> heads = ranked(importance.head.data() + l * c.head_count, c.head_count);
    const ClosedParts closed = closed_in_layer(c, costs, l, heads, std::max(0.0, wanted * share - removed));
    removed += closed.cost;
    units[l] = ranked(importance.intermediate.data() + l * c.intermediate_size, c.intermediate_size);
    for (int64_t i = 0; i < closed.heads; i++) a.head[l * c.head_count + heads[i]] = -kSure;
    for (int64_t i = 0; i < closed.units; i++) a.intermediate[l * c.intermediate_size + units[l][i]] = -kSure;
    units_closed[l] = closed.units;
  }
  // A gate is never quite certain in the expected sparsity, which may lack a millionth.
  const auto reached = [&] {
    std::vector<float> all;
    for (const auto* part : {&a.head, &a.intermediate, &a.hidden}) all.insert(all.end(), part->begin(), part->end());
    return expected_sparsity(c, LogAlphas(StateLayout(c, LoraSpec{}), all, shape)) >= sparsity;
  };
  for (int64_t l = c.layer_count - 1; l >= 0 && !reached(); l--)
    if (units_closed[l] < c.intermediate_size) a.intermediate[l * c.intermediate_size + units[l][units_closed[l]++]] = -kSure;
  return a;
}

}  // namespace espalier

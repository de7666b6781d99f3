#include "method/sparsity/shape_target.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "method/masks/hard_concrete.h"
#include "method/masks/masks.h"
#include "method/sparsity/exact_size.h"
#include "method/sparsity/sparsity.h"

namespace espalier {

namespace {

using hard_concrete::expected_open;

// Returns the number of gates that stay open by their probabilities alone.
int64_t plain_count(std::span<const float> log_alpha) {
  const double size = static_cast<double>(log_alpha.size());
  return static_cast<int64_t>(size - std::clamp(std::nearbyint(size - expected_open(log_alpha)), 0.0, size));
}

// Marks the layers whose block stays: as many as their gates are expected to leave open, and at least one.
std::vector<bool> open_layers(const ModelConfig& config, std::span<const float> log_alpha) {
  if (log_alpha.empty()) return std::vector<bool>(static_cast<size_t>(config.layer_count), true);
  return highest(log_alpha, std::max<int64_t>(1, plain_count(log_alpha)));
}

// Marks the groups that stay; those of closed layers are closed. Layers that must be alike keep the same number each.
std::vector<bool> open_groups(const ModelConfig& config, const LogAlphas& a, const std::vector<bool>& layers) {
  const auto each = static_cast<size_t>(config.kv_head_count);
  std::vector<float> gates(a.kv_group.begin(), a.kv_group.end());
  double expected = 0;
  for (size_t k = 0; k < gates.size(); k++) {
    if (layers[k / each]) expected += hard_concrete::open_probability(gates[k]);
    if (!layers[k / each]) gates[k] = kClosed;
  }
  if (!a.shape.uniform) return highest(gates, std::max<int64_t>(1, static_cast<int64_t>(std::nearbyint(expected))));
  const auto kept = static_cast<double>(std::count(layers.begin(), layers.end(), true));
  const int64_t alike = std::clamp<int64_t>(static_cast<int64_t>(std::nearbyint(expected / kept)), 1, config.kv_head_count);
  std::vector<bool> open;
  for (size_t l = 0; l < layers.size(); l++) {
    const std::vector<bool> of_layer = highest(std::span<const float>(gates).subspan(l * each, each), layers[l] ? alike : 0);
    open.insert(open.end(), of_layer.begin(), of_layer.end());
  }
  return open;
}

// Closes heads so that all open groups keep the same number, those with the highest log-alphas.
void make_groups_alike(std::span<float> heads, const std::vector<bool>& open, int64_t heads_each) {
  const auto group = [&](size_t k) { return heads.subspan(k * static_cast<size_t>(heads_each), static_cast<size_t>(heads_each)); };
  double expected = 0, count = 0;
  for (size_t k = 0; k < open.size(); k++) {
    if (!open[k]) continue;
    expected += expected_open(group(k));
    count += 1;
  }
  const int64_t alike = std::clamp<int64_t>(static_cast<int64_t>(std::nearbyint(expected / count)), 1, heads_each);
  for (size_t k = 0; k < open.size(); k++) {
    if (!open[k]) continue;
    const std::vector<bool> kept = highest(group(k), alike);
    for (size_t h = 0; h < kept.size(); h++)
      if (!kept[h]) group(k)[h] = kClosed;
  }
}

// Returns the multiple nearest to `wanted`, from `least` multiples to `size`. `size` itself is allowed even if it is not a multiple.
int64_t to_multiple(double wanted, int64_t multiple, int64_t size, int64_t least) {
  const auto rounded = static_cast<int64_t>(std::nearbyint(wanted / static_cast<double>(multiple))) * multiple;
  const int64_t whole = size / multiple * multiple;
  if (rounded > whole || (rounded == whole && wanted > static_cast<double>(whole + size) / 2)) return size;
  return std::min(size, std::max(rounded, least * multiple));
}

// Marks `count` layers: the first one, and those whose heads are the likeliest to stay open.
std::vector<bool> kept_blocks(const std::vector<double>& open, int64_t count) {
  std::vector<size_t> order(open.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin() + 1, order.end(), [&](size_t i, size_t j) { return open[i] > open[j]; });
  std::vector<bool> kept(open.size(), false);
  for (int64_t i = 0; i < count; i++) kept[order[static_cast<size_t>(i)]] = true;
  return kept;
}

class Shaper {
 public:
  Shaper(const ModelConfig& config, const LogAlphas& a, const SettledBlocks& settled)
      : config_(config), target_(a.shape), a_(a), settled_(settled) {
    for (int64_t l = 0; l < config.layer_count; l++) {
      heads_.push_back(expected_open(heads_of(l)));
      units_.push_back(expected_open(units_of(l)));
    }
  }

  // Where the cost is too high and no layer can have fewer units, heads close, and then hidden units.
  OpenCounts counts() const {
    OpenCounts out;
    out.hidden = to_multiple(expected_open(a_.hidden), target_.multiple_of, config_.hidden_size, 1);
    out.heads = head_counts();
    const CostRule rule(config_, target_, a_.gates);
    OpenGates expected = rule.expected(a_);
    if (!a_.gates.any() && rule.per().straight()) {  // the sums in the order on which the bits of earlier runs depend
      expected.heads = sum(heads_);
      expected.units = sum(units_);
    }
    const double cost = rule.cost(expected);
    for (int64_t fewer = 1;; fewer++) {
      const OpenGates others = gates_of(out, config_, rule, settled_.head());
      out.units = rule.per().straight() ? unit_counts(rule.units_for(expected, others)) : unit_counts_within(rule, cost, others);
      const double step = rule.of_a_unit(others) * static_cast<double>(target_.multiple_of * (target_.uniform ? config_.layer_count : 1));
      if (out.units != unit_counts(0) || cost_with_units(rule, others, out.units) <= cost + (rule.per().straight() ? step / 2 : 0))
        return out;
      std::vector<int64_t> heads = head_counts(fewer);
      if (heads == out.heads) {
        if (out.hidden <= target_.multiple_of) return out;
        out.hidden = (out.hidden - 1) / target_.multiple_of * target_.multiple_of;
      }
      out.heads = std::move(heads);
    }
  }

 private:
  std::span<const float> heads_of(int64_t l) const { return settled_.head().subspan(l * config_.head_count, config_.head_count); }
  std::span<const float> units_of(int64_t l) const {
    return settled_.intermediate().subspan(l * config_.intermediate_size, config_.intermediate_size);
  }

  static double sum(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

  // fewer: how many of the heads, of the heads of each layer or of the layers with heads close beyond those that the probabilities close
  std::vector<int64_t> head_counts(int64_t fewer = 0) const {
    const int64_t layers = config_.layer_count, all = config_.head_count;
    std::vector<int64_t> out;
    if (target_.uniform) {
      double kept = 0;
      for (int64_t l = 0; l < layers; l++) kept += able_to_open(heads_of(l)) > 0;
      const int64_t alike = std::clamp<int64_t>(static_cast<int64_t>(std::nearbyint(sum(heads_) / kept)) - fewer, 1, all);
      for (int64_t l = 0; l < layers; l++) {
        const int64_t able = able_to_open(heads_of(l));
        out.push_back(a_.gates.kv_group || able == 0 ? able : alike);
      }
      return out;
    }
    if (target_.whole_attention) {
      const auto blocks = static_cast<int64_t>(std::nearbyint(sum(heads_) / static_cast<double>(all))) - fewer;
      for (const bool kept : kept_blocks(heads_, std::clamp<int64_t>(blocks, 1, layers))) out.push_back(kept ? all : 0);
      return out;
    }
    for (int64_t l = 0; l < layers; l++) out.push_back(plain_count(heads_of(l)));
    const GateOrder order(static_cast<size_t>(layers), settled_.head());
    for (int64_t closed = 0; closed < fewer && std::accumulate(out.begin(), out.end(), int64_t{0}) > 1; closed++) order.change(out, false);
    return out;
  }

  // Divides `wanted` open units among all layers. Where layers may differ, each gets its share and passes its rounding error on to the
  // next.
  std::vector<int64_t> unit_counts(double wanted) const {
    const int64_t layers = config_.layer_count, all = config_.intermediate_size;
    std::vector<int64_t> out;
    double due = 0, kept = 0;
    for (int64_t l = 0; l < layers; l++) kept += able_to_open(units_of(l)) > 0;
    const double share = sum(units_) > 0 ? wanted / sum(units_) : 0.0;
    for (int64_t l = 0; l < layers; l++) {
      if (able_to_open(units_of(l)) == 0) {
        out.push_back(0);
        continue;
      }
      if (target_.uniform) {
        out.push_back(to_multiple(wanted / kept, target_.multiple_of, all, 1));
        continue;
      }
      due += units_[static_cast<size_t>(l)] * share;
      out.push_back(to_multiple(due, target_.multiple_of, all, 1));
      due -= static_cast<double>(out.back());
    }
    return out;
  }

  // Returns as many units as the cost has room for.
  std::vector<int64_t> unit_counts_within(const CostRule& rule, double cost, const OpenGates& others) const {
    int64_t least = 0, beyond = config_.layer_count * config_.intermediate_size + 1;
    while (beyond - least > 1) {
      const int64_t middle = least + (beyond - least) / 2;
      (cost_with_units(rule, others, unit_counts(static_cast<double>(middle))) > cost ? beyond : least) = middle;
    }
    return unit_counts(static_cast<double>(least));
  }

  const ModelConfig& config_;
  const ShapeTarget& target_;
  const LogAlphas& a_;
  const SettledBlocks& settled_;
  std::vector<double> heads_, units_;  // the expected number of open gates in each layer
};

// Adds one number to all log-alphas of a group, so that `wanted` of them are expected to be open, as far as their range allows.
void shift_to(std::span<float> log_alpha, double wanted) {
  const auto clamped = [](double a) { return std::clamp(a, hard_concrete::kMinLogAlpha, hard_concrete::kMaxLogAlpha); };
  const double range = hard_concrete::kMaxLogAlpha - hard_concrete::kMinLogAlpha;
  double low = -range, high = range;
  for (int i = 0; i < 48; i++) {
    const double middle = (low + high) / 2;
    double open = 0;
    for (const float a : log_alpha) open += hard_concrete::open_probability(clamped(a + middle));
    (open > wanted ? high : low) = middle;
  }
  const double shift = (low + high) / 2;
  for (float& a : log_alpha) a = static_cast<float>(clamped(a + shift));
}

// Gives all groups the same expected number of open gates, which is their mean.
void make_alike(std::span<float> log_alphas, int64_t groups) {
  const auto size = log_alphas.size() / static_cast<size_t>(groups);
  const double mean = expected_open(log_alphas) / static_cast<double>(groups);
  for (int64_t g = 0; g < groups; g++) shift_to(log_alphas.subspan(static_cast<size_t>(g) * size, size), mean);
}

}  // namespace

SettledBlocks::SettledBlocks(const ModelConfig& config, const LogAlphas& a) : own_head_(a.head), own_units_(a.intermediate) {
  if (a.gates.attention || a.gates.kv_group) settle_attention(config, a);
  if (a.gates.mlp) settle_mlps(config, a);
}

void SettledBlocks::settle_attention(const ModelConfig& config, const LogAlphas& a) {
  head_.assign(a.head.begin(), a.head.end());
  const std::vector<bool> layers = open_layers(config, a.attention);
  const std::vector<bool> groups = a.gates.kv_group
                                       ? open_groups(config, a, layers)
                                       : std::vector<bool>(static_cast<size_t>(config.layer_count * config.kv_head_count), true);
  const auto heads = static_cast<size_t>(config.head_count), groups_each = static_cast<size_t>(config.kv_head_count);
  for (size_t i = 0; i < head_.size(); i++) {
    const size_t l = i / heads;
    if (!layers[l] || !groups[l * groups_each + static_cast<size_t>(config.layers[l].kv_head_of_query[i % heads])]) head_[i] = kClosed;
  }
  if (a.gates.kv_group && a.shape.uniform) make_groups_alike(head_, groups, config.head_count / config.kv_head_count);
}

void SettledBlocks::settle_mlps(const ModelConfig& config, const LogAlphas& a) {
  units_.assign(a.intermediate.begin(), a.intermediate.end());
  // Enough MLPs stay to hold the units that the size needs: units compensate for the rounding of everything larger.
  OpenCounts open;
  for (int64_t l = 0; l < config.layer_count; l++)
    open.heads.push_back(plain_count(head().subspan(l * config.head_count, config.head_count)));
  open.hidden = std::max<int64_t>(1, plain_count(a.hidden));
  const CostRule rule(config, a.shape, a.gates);
  const double wanted = rule.units_for(rule.expected(a), gates_of(open, config, rule, head()));
  const double needed = std::ceil(wanted / static_cast<double>(config.intermediate_size));
  // Layers that are alike keep their MLP where they keep their attention.
  const int64_t least = a.shape.uniform ? 1 : static_cast<int64_t>(needed);
  const std::vector<bool> layers = highest(a.mlp, std::clamp<int64_t>(std::max(plain_count(a.mlp), least), 1, config.layer_count));
  for (size_t i = 0; i < units_.size(); i++)
    if (!layers[i / static_cast<size_t>(config.intermediate_size)]) units_[i] = kClosed;
}

OpenCounts open_counts(const ModelConfig& config, const LogAlphas& a, const SettledBlocks& settled) {
  if (a.shape.any()) return Shaper(config, a, settled).counts();
  OpenCounts out;
  for (int64_t l = 0; l < config.layer_count; l++) {
    out.heads.push_back(plain_count(settled.head().subspan(l * config.head_count, config.head_count)));
    out.units.push_back(plain_count(settled.intermediate().subspan(l * config.intermediate_size, config.intermediate_size)));
  }
  out.hidden = plain_count(a.hidden);
  if (a.shape.exact_size) make_exact(out, config, a, settled);
  return out;
}

void keep_shape(const ModelConfig& config, const ShapeTarget& target, const StateLayout& layout, std::span<float> masks) {
  const auto kind = [&](const char* name) {
    const StateLayout::Entry* e = layout.find(name);
    return e ? masks.subspan(static_cast<size_t>(e->offset - layout.lora_size()), static_cast<size_t>(e->size)) : std::span<float>{};
  };
  const std::span<float> heads = kind("mask.head"), groups = kind("mask.kv_group");
  if (target.uniform) {
    const int64_t layers = config.layer_count;
    make_alike(heads, groups.empty() ? layers : layers * config.kv_head_count);
    make_alike(kind("mask.intermediate"), layers);
    if (!groups.empty()) make_alike(groups, layers);
    // A layer's attention and MLP open or close together.
    const std::span<float> attention = kind("mask.attention"), mlp = kind("mask.mlp");
    for (size_t l = 0; l < std::min(attention.size(), mlp.size()); l++) attention[l] = mlp[l] = (attention[l] + mlp[l]) / 2;
  }
  if (!target.whole_attention) return;
  for (int64_t l = 0; l < config.layer_count; l++) {
    const auto block = heads.subspan(static_cast<size_t>(l * config.head_count), static_cast<size_t>(config.head_count));
    const double mean = std::accumulate(block.begin(), block.end(), 0.0) / static_cast<double>(block.size());
    std::fill(block.begin(), block.end(), static_cast<float>(mean));
  }
}

}  // namespace espalier

// The cost that masks can remove from a model, the sparsity of masks, which is the removed share of it, and the gradient of the sparsity.
// Everything is computed in double.
#pragma once
#include <array>
#include <vector>

#include "espalier/method/model_masks.h"

namespace espalier {

// The parameters of the projections, of which a sparsity is a share: those that gates can remove, and those that always stay. Embeddings,
// norms and lm_head are not counted. With grouped queries K and V are shared: gates of groups or of attention can remove them, and without
// such gates they always stay.
struct PrunableSizes {
  double head = 0;          // the parameters of one query head
  double intermediate = 0;  // the parameters of one intermediate unit
  double kv = 0;            // the parameters of one key/value head, where gates of blocks can remove it
  double prunable = 0, stable = 0;
};
PrunableSizes prunable_sizes(const ModelConfig& config, const BlockGates& gates = {});

// The numbers of gates in all layers together that are open or expected to be. Where the cost has curves, the curve of each layer is
// applied first.
struct OpenGates {
  double heads = 0, units = 0;
  double kv = 0;  // key/value heads that an open query head reads; only where the cost counts them
  double hidden = 0;
};

// The probability that a gate is open, and its slope in some direction.
struct Probability {
  double open = 1, slope = 0;
};
inline Probability operator*(const Probability& a, const Probability& b) { return {a.open * b.open, a.slope * b.open + a.open * b.slope}; }

// The slopes of a cost's curves at the expected widths of each layer; 1 where every part costs the same.
struct CurveSlopes {
  std::vector<double> head, unit, kv;
};

// The kinds of gates in the order of a state.
enum class GateKind : size_t { kHead, kUnit, kHidden, kKvGroup, kAttention, kMlp };

// The probability that each gate is open, with its slope by the log-alpha. Several threads compute them in chunks.
class GateProbabilities {
 public:
  explicit GateProbabilities(const LogAlphas& log_alphas);
  const Probability& of(GateKind kind, size_t index) const { return kinds_[static_cast<size_t>(kind)][index]; }
  double open(GateKind kind, size_t index) const { return of(kind, index).open; }
  // Returns the probabilities in the form that CostRule takes, without slopes, for sums of probabilities alone.
  auto without_slopes() const {
    return [this](GateKind kind, size_t index) { return Probability{open(kind, index), 0}; };
  }

 private:
  std::array<std::vector<Probability>, 6> kinds_;
};

// The sums over the gates of all layers.
struct OpenSums {
  Probability heads{0, 0}, units{0, 0}, kv{0, 0}, hidden{0, 0};
};

// The cost whose removed share is the sparsity: the cost of a shape target, or otherwise the prunable parameters.
class CostRule {
 public:
  CostRule(const ModelConfig& config, const ShapeTarget& shape, const BlockGates& gates);

  const Cost& per() const { return per_; }
  bool counts_kv() const { return per_.kv != 0 || per_.kv_alone != 0; }
  double all() const { return all_; }                  // the cost of the intact model
  double in_proportion(const OpenGates& open) const {  // with all hidden units open
    return open.heads * per_.head + open.units * per_.unit + open.kv * per_.kv + per_.rest;
  }
  double alone(const OpenGates& open) const {
    return open.heads * per_.head_alone + open.units * per_.unit_alone + open.kv * per_.kv_alone + per_.rest_alone;
  }
  double cost(const OpenGates& open) const { return in_proportion(open) * (open.hidden / hidden_size_) + alone(open); }
  double of_a_unit(const OpenGates& open) const { return per_.unit * (open.hidden / hidden_size_) + per_.unit_alone; }
  double sparsity(const OpenGates& open) const { return 1.0 - cost(open) / all_; }
  OpenGates expected(const GateProbabilities& gates) const;
  OpenGates expected(const LogAlphas& log_alphas) const { return expected(GateProbabilities(log_alphas)); }
  CurveSlopes slopes(const GateProbabilities& gates) const;
  // Returns the sums. `gate(GateKind, index)` gives the probability of one gate; it is called only for the kinds that a state has.
  template <class Gate>
  OpenSums sums(const Gate& gate) const;
  // These return the probability that the blocks around a query head, or around a unit, are open; `group` is the index of the key/value
  // head.
  template <class Gate>
  Probability block_of_group(const Gate& gate, size_t group) const;
  template <class Gate>
  Probability block_of_units(const Gate& gate, size_t layer) const;
  // Returns the query heads of each key/value head of all layers, as indices into [L, H]; empty where the cost does not count key/value
  // heads.
  const std::vector<std::vector<int64_t>>& kv_heads() const { return kv_heads_; }
  // Returns how many key/value heads are read where these of the [L, H] query heads are open.
  double kv_read(const std::vector<bool>& open_heads) const;
  // Returns the number of open units with which a model whose other parts are `open` has the expected cost. The number may be out of range.
  // With a curve, it assumes that all layers are alike.
  double units_for(const OpenGates& expected, const OpenGates& open) const;

 private:
  // `on_layer(heads, units)` and `on_kv(kv)` get the sums of each layer where the cost has curves, and otherwise those of the whole model.
  template <class Gate, class OnLayer, class OnKv>
  Probability add_up(const Gate& gate, const OnLayer& on_layer, const OnKv& on_kv) const;

  const ModelConfig& config_;
  BlockGates gates_;
  Cost per_;
  double all_ = 0, hidden_size_ = 0;
  std::vector<std::vector<int64_t>> kv_heads_;
};

template <class Gate>
Probability CostRule::block_of_group(const Gate& gate, size_t group) const {
  const Probability own = gates_.kv_group ? gate(GateKind::kKvGroup, group) : Probability{};
  return gates_.attention ? own * gate(GateKind::kAttention, group / static_cast<size_t>(config_.kv_head_count)) : own;
}

template <class Gate>
Probability CostRule::block_of_units(const Gate& gate, size_t layer) const {
  return gates_.mlp ? gate(GateKind::kMlp, layer) : Probability{};
}

inline void add_to(Probability& sum, const Probability& one) {
  sum.open += one.open;
  sum.slope += one.slope;
}

// Without curves all gates of a kind are added to one sum, since the bits of runs depend on its order.
template <class Gate, class OnLayer, class OnKv>
Probability CostRule::add_up(const Gate& gate, const OnLayer& on_layer, const OnKv& on_kv) const {
  const bool by_layer = !per_.straight();
  const auto heads = static_cast<size_t>(config_.head_count), units = static_cast<size_t>(config_.intermediate_size);
  const auto layers = static_cast<size_t>(config_.layer_count), groups = static_cast<size_t>(config_.kv_head_count);
  Probability head_sum{0, 0}, unit_sum{0, 0}, kv_sum{0, 0}, hidden{0, 0};
  for (size_t l = 0; l < layers; l++) {
    const size_t first_group = l * groups;
    const std::vector<int32_t>& group_of = config_.layers[l].kv_head_of_query;
    for (size_t h = 0; h < heads; h++)
      add_to(head_sum, gate(GateKind::kHead, l * heads + h) * block_of_group(gate, first_group + static_cast<size_t>(group_of[h])));
    const Probability mlp = block_of_units(gate, l);
    for (size_t i = 0; i < units; i++) add_to(unit_sum, gate(GateKind::kUnit, l * units + i) * mlp);
    if (!by_layer && l + 1 < layers) continue;
    on_layer(head_sum, unit_sum);
    head_sum = unit_sum = {0, 0};
  }
  for (size_t i = 0; i < static_cast<size_t>(config_.hidden_size); i++) add_to(hidden, gate(GateKind::kHidden, i));
  for (size_t k = 0; k < kv_heads_.size(); k++) {
    double unread = 1, slope = 0;  // slope: that of the logarithm of the probability that no query reads it
    for (const int64_t h : kv_heads_[k]) {
      const Probability one = gate(GateKind::kHead, static_cast<size_t>(h));
      unread *= 1.0 - one.open;
      slope += one.slope / (1.0 - one.open);
    }
    add_to(kv_sum, Probability{1.0 - unread, unread * slope} * block_of_group(gate, k));
    if (by_layer ? (k + 1) % groups != 0 : k + 1 < kv_heads_.size()) continue;
    on_kv(kv_sum);
    kv_sum = {0, 0};
  }
  return hidden;
}

template <class Gate>
OpenSums CostRule::sums(const Gate& gate) const {
  OpenSums sums;
  const auto counted = [](const WidthCurve& curve, const Probability& sum) {
    return Probability{curve.at(sum.open), curve.slope(sum.open) * sum.slope};
  };
  sums.hidden = add_up(
      gate,
      [&](const Probability& heads, const Probability& units) {
        add_to(sums.heads, counted(per_.head_curve, heads));
        add_to(sums.units, counted(per_.unit_curve, units));
      },
      [&](const Probability& kv) { add_to(sums.kv, counted(per_.kv_curve, kv)); });
  return sums;
}

// The expected sparsity of some log-alphas, and everything that its gradient needs.
class ExpectedSparsity {
 public:
  // The model's config must outlive this object.
  ExpectedSparsity(const ModelConfig& config, const LogAlphas& log_alphas);
  double value() const { return rule_.sparsity(open_); }
  // Does gradient += slope * d value / d log_alpha.
  void add_gradient(double slope, Masks& gradient) const;

 private:
  const ModelConfig& config_;
  BlockGates block_gates_;
  CostRule rule_;
  GateProbabilities gates_;
  OpenGates open_;
  CurveSlopes curves_;
};

inline double expected_sparsity(const ModelConfig& config, const LogAlphas& log_alphas) {
  const CostRule rule(config, log_alphas.shape, log_alphas.gates);
  return rule.sparsity(rule.expected(log_alphas));
}

}  // namespace espalier

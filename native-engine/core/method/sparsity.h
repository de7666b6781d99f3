// The cost that masks can take from a model, the sparsity of masks, which is the share of it that is gone, and the gradient of that. All in
// double.
#pragma once
#include <vector>

#include "espalier/trainer.h"

namespace espalier {

// Embeddings, norms and lm_head are not counted. With grouped queries K and V are shared, so they are stable.
struct PrunableSizes {
  double head = 0;          // parameters that go with one query head
  double intermediate = 0;  // and with one intermediate unit
  double prunable = 0, stable = 0;
};
PrunableSizes prunable_sizes(const ModelConfig& config);

// Gates that are open, or that are expected to be, in all layers together.
struct OpenGates {
  double heads = 0, units = 0;
  double kv = 0;  // key/value heads of which an open query head reads; only where the cost counts them
  double hidden = 0;
};

// The cost that sparsity is a share of: that of a shape target, else the prunable parameters.
class CostRule {
 public:
  CostRule(const ModelConfig& config, const ShapeTarget& shape);

  const Cost& per() const { return per_; }
  bool counts_kv() const { return per_.kv != 0 || per_.kv_alone != 0; }
  double all() const { return all_; }                  // of the intact model
  double in_proportion(const OpenGates& open) const {  // with all hidden units
    return open.heads * per_.head + open.units * per_.unit + open.kv * per_.kv + per_.rest;
  }
  double alone(const OpenGates& open) const {
    return open.heads * per_.head_alone + open.units * per_.unit_alone + open.kv * per_.kv_alone + per_.rest_alone;
  }
  double sparsity(const OpenGates& open) const { return 1.0 - (in_proportion(open) * (open.hidden / hidden_size_) + alone(open)) / all_; }
  OpenGates expected(const LogAlphas& log_alphas) const;
  // The query heads of each key/value head of all layers, as indices into [L, H]; none where the cost does not count them.
  const std::vector<std::vector<int64_t>>& kv_heads() const { return kv_heads_; }
  // Key/value heads that are read, by which of the [L, H] query heads are open.
  double kv_read(const std::vector<bool>& open_heads) const;
  // The number of open units at which a model costs what is expected, whose other parts are `open`; it may be out of range.
  double units_for(const OpenGates& expected, const OpenGates& open) const;

 private:
  Cost per_;
  double all_ = 0, hidden_size_ = 0;
  std::vector<std::vector<int64_t>> kv_heads_;
};

double expected_sparsity(const ModelConfig& config, const LogAlphas& log_alphas);

// gradient += slope * d expected_sparsity / d log_alpha.
void add_sparsity_gradient(const ModelConfig& config, const LogAlphas& log_alphas, double slope, Masks& gradient);

}  // namespace espalier

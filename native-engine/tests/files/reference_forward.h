// A plain forward pass in double, written from the method's definitions. It shares no code with the engine: masks act on activations, and
// LoRA has its own path. It is slow and short, for small models only.
#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "espalier/method/model_masks.h"
#include "espalier/method/train_state.h"
#include "espalier/model/model_weights.h"

namespace espalier::test {

using Rows = std::vector<std::vector<double>>;  // [tokens][width]

class ReferenceForward {
 public:
  // `state` may be nullptr (no LoRA); a mask vector may be empty (all open).
  ReferenceForward(const ModelWeights& model, const TrainState* state, const Masks& masks)
      : model_(model), config_(model.config()), state_(state), masks_(masks) {}

  Rows logits(std::span<const uint32_t> ids) const;

  // Also appends the residual stream after each layer.
  Rows logits(std::span<const uint32_t> ids, std::vector<Rows>& layers) const;

  // Mean over the predictions, nats.
  double negative_log_likelihood(std::span<const uint32_t> ids) const { return negative_log_likelihood(logits(ids), ids); }
  static double negative_log_likelihood(const Rows& logits, std::span<const uint32_t> ids);

  // The inputs of a layer's projections, each [tokens][width].
  struct Inputs {
    Rows qkv, o, gate_up, down;
  };
  std::vector<Inputs> inputs(std::span<const uint32_t> ids) const;  // for a model whose layers have heads and units

 private:
  static std::vector<double> row(const WeightView& w, int64_t index);
  // Weights in double with the columns of the matrix outermost. Those of the model are decoded once.
  static std::vector<double> turned(const WeightView& w);
  const std::vector<double>& decoded(const WeightView& w) const;
  static Rows product(const Rows& x, const std::vector<double>& weights, int64_t width);
  Rows project(int64_t l, Projection p, const Rows& x) const;
  static void add(Rows& x, const Rows& y);
  std::vector<double> embedded(uint32_t id) const;
  std::vector<double> masked_hidden(std::vector<double> x) const;
  Rows norm(const Rows& x, const WeightView& weight) const;
  Rows behind(const Rows& x, const WeightView& weight) const;
  std::vector<double> norm_weights(const WeightView& weight) const;
  double frequency(int64_t l, int64_t pair) const;
  void rotate(int64_t l, Rows& x, int64_t heads) const;
  void norm_heads(int64_t l, Rows& x, bool key) const;
  void norm_open_heads(int64_t l, Rows& x, bool key) const;
  Rows attention(int64_t l, const Rows& x) const;
  Rows heads(int64_t l, const Rows& x) const;  // the outputs of the heads, side by side
  Rows mlp(int64_t l, const Rows& x) const;
  Rows units(int64_t l, const Rows& x) const;
  Rows masked(Rows x) const;  // masks what a block adds to the residual stream

  const ModelWeights& model_;
  const ModelConfig& config_;
  const TrainState* state_;
  const Masks& masks_;
  mutable std::map<const void*, std::vector<double>> decoded_;
};

}  // namespace espalier::test

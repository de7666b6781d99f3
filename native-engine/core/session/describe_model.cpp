#include <algorithm>
#include <array>

#include "model/weights_digest.h"
#include "session/session_core.h"

namespace espalier {

namespace {

uint64_t elements(const WeightView& view) { return static_cast<uint64_t>(view.rows) * static_cast<uint64_t>(view.cols); }

}  // namespace

std::vector<TensorCount> count_tensors(const ModelWeights& model) {
  using enum TensorKind;
  using enum TensorPart;
  std::vector<TensorCount> out;
  const auto add = [&](TensorKind kind, TensorPart part, const WeightView& view) {
    if (!view) return;
    const auto found = std::find_if(out.begin(), out.end(), [&](const TensorCount& c) { return c.kind == kind && c.part == part; });
    TensorCount& count = found == out.end() ? out.emplace_back(TensorCount{kind, part}) : *found;
    count.parameters += elements(view);
    count.bytes += elements(view) * element_bytes(view.dtype);
  };
  constexpr std::array<TensorKind, kProjectionCount> kinds = {kProjection, kProjection, kValue, kOutput, kProjection, kProjection, kDown};
  constexpr std::array<TensorPart, kProjectionCount> parts = {kHead, kKvHead, kKvHead, kHead, kUnit, kUnit, kUnit};
  const ModelConfig& config = model.config();
  add(config.tied_embeddings ? kLmHead : kEmbedding, kNone, model.embedding());
  if (!config.tied_embeddings) add(kLmHead, kNone, model.lm_head());
  for (int64_t l = 0; l < config.layer_count; ++l) {
    const LayerWeights& layer = model.layer(l);
    for (size_t p = 0; p < kProjectionCount; ++p) add(kinds[p], parts[p], layer.proj[p]);
    for (size_t p = 0; p < layer.qkv_bias.size(); ++p) add(kVector, parts[p], layer.qkv_bias[p]);
    // One norm of all heads has a value for each place of each head.
    for (size_t p = 0; p < layer.head_norm.size(); ++p) add(kVector, config.whole_norms ? parts[p] : kNone, layer.head_norm[p]);
    for (const WeightView* norm : {&layer.attention_norm, &layer.mlp_norm, &layer.post_attention_norm, &layer.post_mlp_norm})
      add(kNorm, kNone, *norm);
  }
  add(kNorm, kNone, model.final_norm());
  return out;
}

ModelDescription describe_model(const ModelWeights& model, bool read_weights, const std::atomic<bool>& cancel) {
  ModelDescription out;
  out.config = model.config();
  out.tensors = count_tensors(model);
  out.weight_bytes = model.bytes();
  if (read_weights) out.digest = model.digest(cancel);
  out.dtype = dtype_name(model.embedding().dtype);
  for (const TensorCount& count : out.tensors) out.parameter_count += count.parameters;
  for (int64_t l = 0; l < out.config.layer_count; ++l) {
    for (const WeightView& view : model.layer(l).proj) out.body_parameter_count += elements(view);
  }
  return out;
}

}  // namespace espalier

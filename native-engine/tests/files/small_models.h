// Small seeded models of every supported kind. Their weights are so large that each part of the computation shows in the logits.
#pragma once
#include <cmath>
#include <deque>
#include <nlohmann/json.hpp>
#include <random>

#include "espalier/model/model_weights.h"
#include "files/number_formats.h"
#include "model/tensor_names.h"
#include "model/weight_table.h"

namespace espalier::test {

class SmallModel final : public WeightTable {
 public:
  SmallModel(const ModelConfig& config, uint64_t seed, DType dtype = DType::kF32) : WeightTable(config), random_(seed), dtype_(dtype) {
    embedding_ = matrix(config.vocab_size, config.hidden_size, 1.0);
    final_norm_ = vector(config.hidden_size);
    lm_head_ = config.tied_embeddings ? embedding_ : matrix(config.vocab_size, config.hidden_size);
    for (const LayerShape& shape : config.layers) {
      LayerWeights layer;
      if (config.pre_norms) layer.attention_norm = vector(config.hidden_size), layer.mlp_norm = vector(config.hidden_size);
      if (config.post_norms) layer.post_attention_norm = vector(config.hidden_size), layer.post_mlp_norm = vector(config.hidden_size);
      for (int p = 0; p < kProjectionCount; p++) {
        const Extent extent = projection_extent(config, shape, p);
        layer.proj[static_cast<size_t>(p)] = matrix(extent.rows, extent.cols);
        if (config.qkv_bias && p <= kV) layer.qkv_bias[static_cast<size_t>(p)] = matrix(1, extent.rows, 0.3);
      }
      for (const bool key : {false, true})
        if (config.head_norms) layer.head_norm[key] = vector(head_norm_size(config, key ? shape.kv_heads : shape.heads));
      layers_.push_back(layer);
    }
  }

 private:
  WeightView matrix(int64_t rows, int64_t cols, double deviation = 0) {
    std::normal_distribution<double> normal(0, deviation > 0 ? deviation : 1 / std::sqrt(static_cast<double>(cols)));
    return filled(rows, cols, [&] { return normal(random_); });
  }
  // Makes the weights of a norm, which have both signs and differ much from each other.
  WeightView vector(int64_t size) {
    std::uniform_real_distribution<double> uniform(-0.5, 2);
    return filled(1, size, [&] { return uniform(random_); });
  }
  template <class F>
  WeightView filled(int64_t rows, int64_t cols, F&& value) {
    const size_t each = element_bytes(dtype_);
    std::vector<uint8_t>& data = storage_.emplace_back(static_cast<size_t>(rows * cols) * each);
    for (size_t at = 0; at < data.size(); at += each) encode(static_cast<float>(value()), dtype_, data.data() + at);
    return {data.data(), dtype_, rows, cols};
  }

  std::mt19937_64 random_;
  DType dtype_;
  std::deque<std::vector<uint8_t>> storage_;
};

// Parses the config of a small model. `changes` replaces and adds fields of its config.json.
inline ModelConfig parse_small(const nlohmann::json& changes) {
  nlohmann::json config = {
      {"hidden_size", 48},       {"num_hidden_layers", 4}, {"num_attention_heads", 6},       {"num_key_value_heads", 3},
      {"intermediate_size", 40}, {"vocab_size", 64},       {"max_position_embeddings", 512}, {"head_dim", 16}};
  config.update(changes);
  return parse_model_config(config.dump());
}

inline std::shared_ptr<const ModelWeights> small_model(const nlohmann::json& changes, uint64_t seed = 5) {
  return std::make_shared<SmallModel>(parse_small(changes), seed);
}

// Returns a model for tests of whole sessions whose weights do not matter. It has the layers, widths and stored type of the repository's
// tiny model, with half of its heads and a thirteenth of its vocabulary, which take most of a session's time on the emulated card. Its
// products still have several tiles, of which the last are not full: the vocabulary and the units have three of 64 columns.
inline std::shared_ptr<const ModelWeights> light_model() {
  static const auto model = std::make_shared<SmallModel>(parse_small({{"architectures", {"LlamaForCausalLM"}},
                                                                      {"hidden_size", 64},
                                                                      {"num_hidden_layers", 3},
                                                                      {"num_attention_heads", 4},
                                                                      {"num_key_value_heads", 2},
                                                                      {"intermediate_size", 160},
                                                                      {"vocab_size", 160}}),
                                                         7, DType::kBF16);
  return model;
}

struct SmallKind {
  const char* name;
  nlohmann::json config;
};

// Returns the kinds other than a plain LLaMA. Their heads together are wider than the residual stream, so the size of a head is not hidden
// / heads.
inline std::vector<SmallKind> small_kinds() {
  const nlohmann::json yarn = {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 24}};
  const nlohmann::json llama3 = {{"rope_type", "llama3"},
                                 {"factor", 8.0},
                                 {"low_freq_factor", 1.0},
                                 {"high_freq_factor", 4.0},
                                 {"original_max_position_embeddings", 64}};
  return {{"nemo", {{"architectures", {"MistralForCausalLM"}}, {"sliding_window", nullptr}, {"head_dim", 24}}},
          {"llama_3_2", {{"architectures", {"LlamaForCausalLM"}}, {"tie_word_embeddings", true}, {"rope_scaling", llama3}}},
          {"qwen3", {{"architectures", {"Qwen3ForCausalLM"}}}},
          {"qwen3_yarn", {{"architectures", {"Qwen3ForCausalLM"}}, {"tie_word_embeddings", true}, {"rope_scaling", yarn}}},
          {"llama_yarn", {{"architectures", {"LlamaForCausalLM"}}, {"rope_scaling", yarn}}},
          {"smollm3", {{"architectures", {"SmolLM3ForCausalLM"}}, {"rope_theta", 500.0}}},
          {"granite",
           {{"architectures", {"GraniteForCausalLM"}},
            {"tie_word_embeddings", true},
            {"embedding_multiplier", 3.0},
            {"attention_multiplier", 0.4},
            {"residual_multiplier", 0.6},
            {"logits_scaling", 1.7}}},
          {"phi3", {{"architectures", {"Phi3ForCausalLM"}}, {"sliding_window", 12}}},
          {"gemma", {{"architectures", {"GemmaForCausalLM"}}, {"hidden_act", "gelu"}}},
          {"gemma2",
           {{"architectures", {"Gemma2ForCausalLM"}},
            {"query_pre_attn_scalar", 9},
            {"sliding_window", 5},
            {"attn_logit_softcapping", 2.0},
            {"final_logit_softcapping", 3.0}}},
          {"gemma3",
           {{"architectures", {"Gemma3ForCausalLM"}},
            {"query_pre_attn_scalar", 9},
            {"sliding_window", 5},
            {"sliding_window_pattern", 3},
            {"rope_local_base_freq", 100.0},
            {"rope_scaling", {{"rope_type", "linear"}, {"factor", 2.0}}}}},
          {"olmo2",
           {{"architectures", {"Olmo2ForCausalLM"}},
            {"num_key_value_heads", 6},
            {"head_dim", 8},
            {"rope_theta", 500.0},
            {"tie_word_embeddings", false}}},
          {"smollm3_yarn", {{"architectures", {"SmolLM3ForCausalLM"}}, {"rope_theta", 500.0}, {"rope_scaling", yarn}}}};
}

}  // namespace espalier::test

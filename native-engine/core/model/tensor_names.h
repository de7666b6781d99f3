// Hugging Face's names of a model's tensors, in one place for reading and writing.
#pragma once
#include <cstdint>
#include <string>

#include "espalier/model/model_weights.h"

namespace espalier {

inline constexpr const char* kEmbeddingName = "model.embed_tokens.weight";
inline constexpr const char* kFinalNormName = "model.norm.weight";
inline constexpr const char* kLmHeadName = "lm_head.weight";

inline const char* head_name(const ModelConfig& config) { return config.tied_embeddings ? kEmbeddingName : kLmHeadName; }

inline std::string layer_prefix(int64_t layer) { return "model.layers." + std::to_string(layer) + "."; }
inline std::string input_norm_name(int64_t layer) { return layer_prefix(layer) + "input_layernorm.weight"; }
// The norm behind attention in Gemma and OLMo. Models without such a norm use the name for the norm in front of their MLP.
inline std::string post_attention_norm_name(int64_t layer) { return layer_prefix(layer) + "post_attention_layernorm.weight"; }
inline std::string pre_mlp_norm_name(int64_t layer) { return layer_prefix(layer) + "pre_feedforward_layernorm.weight"; }
inline std::string post_mlp_norm_name(int64_t layer) { return layer_prefix(layer) + "post_feedforward_layernorm.weight"; }
inline std::string mlp_norm_name(const ModelConfig& config, int64_t layer) {
  return config.post_norms ? pre_mlp_norm_name(layer) : post_attention_norm_name(layer);
}
inline std::string projection_name(int64_t layer, int projection) {
  return layer_prefix(layer) + kProjectionNames[static_cast<size_t>(projection)] + ".weight";
}
inline std::string projection_bias_name(int64_t layer, int projection) {
  return layer_prefix(layer) + kProjectionNames[static_cast<size_t>(projection)] + ".bias";
}
// Files of Phi3 hold these projections in one tensor, one below the other.
inline std::string fused_qkv_name(int64_t layer) { return layer_prefix(layer) + "self_attn.qkv_proj.weight"; }
inline std::string fused_gate_up_name(int64_t layer) { return layer_prefix(layer) + "mlp.gate_up_proj.weight"; }
// key: the norm of the key heads, otherwise that of the query heads.
inline std::string head_norm_name(int64_t layer, bool key) {
  return layer_prefix(layer) + (key ? "self_attn.k_norm.weight" : "self_attn.q_norm.weight");
}

// Returns the number of values of that norm's weight.
inline int64_t head_norm_size(const ModelConfig& config, int64_t heads) {
  return config.whole_norms ? heads * config.head_dim : config.head_dim;
}

// The rows and columns of a projection in a layer of the given widths, in Hugging Face's layout [out, in].
struct Extent {
  int64_t rows = 0, cols = 0;
};
inline Extent projection_extent(const ModelConfig& config, const LayerShape& layer, int projection) {
  const int64_t query = layer.heads * config.head_dim, kv = layer.kv_heads * config.head_dim;
  switch (projection) {
    case kQ:
      return {query, config.hidden_size};
    case kK:
    case kV:
      return {kv, config.hidden_size};
    case kO:
      return {config.hidden_size, query};
    case kDown:
      return {config.hidden_size, layer.intermediate};
    default:
      return {layer.intermediate, config.hidden_size};
  }
}

}  // namespace espalier

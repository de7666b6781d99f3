// GGUF's names of a model's tensors, in one place for reading and writing.
#pragma once
#include <array>
#include <cmath>
#include <cstdint>
#include <string>

#include "espalier/model/model_weights.h"
#include "model/architecture.h"

namespace espalier {

inline constexpr const char* kGgufRopeFactors = "rope_freqs.weight";
// Our exports store the rule of llama3's scaling under this key. llama.cpp does not read it.
inline constexpr const char* kRopeKeyPrefix = "espalier.rope_scaling.";

// The ends of keys that begin with an architecture's name. Logits are divided by the value of kGgufLogitScale; the other values are
// factors.
inline constexpr const char* kGgufScoreScale = "attention.scale";
inline constexpr const char* kGgufEmbeddingScale = "embedding_scale";
inline constexpr const char* kGgufResidualScale = "residual_scale";
inline constexpr const char* kGgufLogitScale = "logit_scale";

// llama.cpp's smollm3 rotates queries and keys in all layers but every fourth.
inline constexpr int64_t kSmolLm3Interval = 4;
// llama.cpp's gemma3 rotates the layers with a sliding window by a base of 10,000.
inline constexpr double kGemma3LocalBase = 10000;
// Returns the factor by which llama.cpp's gemma, gemma2 and gemma3 multiply a query's product with a key. The last two recognise their
// largest model by the number of layers.
inline double gemma_score_scale(const ModelConfig& c) {
  const Architecture& a = architecture_of(c);
  const int64_t largest = a.local_rope ? 62 : a.caps ? 46 : 0;
  const int64_t size = c.layer_count == largest ? c.hidden_size / c.layers.front().heads : c.head_dim;
  return 1 / std::sqrt(static_cast<double>(size));
}
inline constexpr const char* kGgufScoreCap = "attn_logit_softcapping";
inline constexpr const char* kGgufLogitsCap = "final_logit_softcapping";
inline constexpr const char* kGgufWindow = "attention.sliding_window";
// Returns the Hugging Face architecture that this name in a file stands for; nullptr where no architecture is stored under it. "deci" is a
// llama whose layers have different widths. A llama with biases is a Qwen2, which read_config recognises.
inline const Architecture* find_gguf_architecture(const std::string& name) {
  for (const Architecture& a : kArchitectures)
    if (name == a.gguf || (name == "deci" && a.gguf_uneven)) return &a;
  return nullptr;
}
inline bool gguf_pairs_halves(const std::string& architecture) {
  const Architecture* a = find_gguf_architecture(architecture);
  return a != nullptr && a->gguf_pairs_halves;
}

inline std::string gguf_projection_name(int64_t layer, int projection, const char* kind) {
  constexpr std::array<const char*, kProjectionCount> kNames = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                                                "ffn_gate", "ffn_up", "ffn_down"};
  return "blk." + std::to_string(layer) + "." + kNames[static_cast<size_t>(projection)] + kind;
}
inline std::string gguf_attention_norm_name(int64_t layer) { return "blk." + std::to_string(layer) + ".attn_norm.weight"; }
inline std::string gguf_head_norm_name(int64_t layer, bool key) {
  return "blk." + std::to_string(layer) + (key ? ".attn_k_norm.weight" : ".attn_q_norm.weight");
}
inline std::string gguf_post_attention_norm_name(int64_t layer) { return "blk." + std::to_string(layer) + ".post_attention_norm.weight"; }
inline std::string gguf_post_mlp_norm_name(int64_t layer) { return "blk." + std::to_string(layer) + ".post_ffw_norm.weight"; }
inline std::string gguf_mlp_norm_name(int64_t layer) { return "blk." + std::to_string(layer) + ".ffn_norm.weight"; }

}  // namespace espalier

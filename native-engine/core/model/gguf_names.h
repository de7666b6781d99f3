// GGUF's names of a model's tensors, one place for reading and writing.
#pragma once
#include <array>
#include <cstdint>
#include <string>

#include "espalier/model_weights.h"

namespace espalier {

inline constexpr const char* kGgufRopeFactors = "rope_freqs.weight";
// Our exports keep the rule of llama3's scaling under this key; llama.cpp does not read it.
inline constexpr const char* kRopeKeyPrefix = "espalier.rope_scaling.";

// llama.cpp's smollm3 turns queries and keys in all layers but every fourth.
inline constexpr int64_t kSmolLm3Interval = 4;
// Whether an architecture of llama.cpp pairs the halves of a head, as Hugging Face does; the others pair neighbours.
inline bool gguf_pairs_halves(const std::string& architecture) { return architecture == "qwen3"; }

inline std::string gguf_projection_name(int64_t layer, int projection, const char* kind) {
  constexpr std::array<const char*, kProjectionCount> kNames = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                                                "ffn_gate", "ffn_up", "ffn_down"};
  return "blk." + std::to_string(layer) + "." + kNames[static_cast<size_t>(projection)] + kind;
}
inline std::string gguf_attention_norm_name(int64_t layer) { return "blk." + std::to_string(layer) + ".attn_norm.weight"; }
inline std::string gguf_head_norm_name(int64_t layer, bool key) {
  return "blk." + std::to_string(layer) + (key ? ".attn_k_norm.weight" : ".attn_q_norm.weight");
}
inline std::string gguf_mlp_norm_name(int64_t layer) { return "blk." + std::to_string(layer) + ".ffn_norm.weight"; }

}  // namespace espalier

// GGUF's names of a model's tensors, one place for reading and writing.
#pragma once
#include <array>
#include <cstdint>
#include <string>

#include "espalier/model_weights.h"

namespace espalier {

inline constexpr const char* kGgufRopeFactors = "rope_freqs.weight";
// Where an export of ours keeps the rule of llama3's scaling, which llama.cpp does not ask for.
inline constexpr const char* kRopeKeyPrefix = "espalier.rope_scaling.";

inline std::string gguf_projection_name(int64_t layer, int projection, const char* kind) {
  constexpr std::array<const char*, kProjectionCount> kNames = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                                                "ffn_gate", "ffn_up", "ffn_down"};
  return "blk." + std::to_string(layer) + "." + kNames[static_cast<size_t>(projection)] + kind;
}
inline std::string gguf_attention_norm_name(int64_t layer) { return "blk." + std::to_string(layer) + ".attn_norm.weight"; }
inline std::string gguf_mlp_norm_name(int64_t layer) { return "blk." + std::to_string(layer) + ".ffn_norm.weight"; }

}  // namespace espalier

// The table of supported architectures, with one row of facts for each. A configuration is read by its row, and exports are written by it.
#pragma once
#include <array>
#include <string_view>

#include "espalier/model/model_config.h"

namespace espalier {

// How a configuration says that queries see only the tokens of a sliding window.
enum class Window {
  kNone,      // the architecture has no window
  kNumber,    // sliding_window gives its length; null turns it off
  kSwitched,  // use_sliding_window turns it on, max_window_layers says from which layer
  kListed,    // layer_types says which layers have it; where it is absent, window_pattern does
};

// The caps of an architecture that has caps, where config.json does not say them.
inline constexpr double kAbsentScoreCap = 50, kAbsentLogitsCap = 30;

// Values of absent_kv_heads: an absent number is an error, or stands for the number of query heads.
inline constexpr int64_t kRequired = 0, kAsQueryHeads = -1;

struct Architecture {
  const char* name;        // the name in `architectures` of config.json
  const char* model_type;  // the name in config.json
  Window window = Window::kNone;
  int64_t absent_window = 0;            // the value where sliding_window is absent
  int64_t window_pattern = 0;           // of kListed: all layers but every N-th have the window; llama.cpp knows no other N
  int64_t absent_kv_heads = kRequired;  // the value where num_key_value_heads is absent
  int64_t absent_head_dim = 0;          // the value where head_dim is absent; 0: hidden_size / num_attention_heads
  double absent_rope_theta = 10000;
  double absent_norm_eps = 1e-6;
  bool absent_tied = false;
  bool qkv_bias = false;
  bool fused = false;  // files hold q, k and v in one tensor, and gate and up in another
  bool head_norms = false;
  bool whole_norms = false;  // this and the next three have the meaning that they have in ModelConfig
  bool pre_norms = true;
  bool post_norms = false;
  double norm_offset = 0;
  Activation activation = Activation::kSilu;
  bool scaled_embeddings = false;  // scaled by the root of hidden_size
  bool score_divisor = false;      // scores are divided by the root of query_pre_attn_scalar
  bool caps = false;               // scores and logits are capped by attn_logit_softcapping and final_logit_softcapping
  bool local_rope = false;         // layers with a window have a rotary embedding of their own, rope_local_base_freq
  bool rotary_by_layer = false;    // layers may leave queries and keys as they are (no_rope_layers)
  bool multipliers = false;        // embeddings, scores, what blocks add, and logits are scaled by constants
  const char* gguf = "llama";      // llama.cpp's architecture that has one width for all layers
  bool gguf_uneven = true;         // whether llama.cpp's deci, which lets layers differ in width, computes the same
  bool gguf_pairs_halves = false;  // llama.cpp pairs the halves of a head, as Hugging Face does; otherwise it pairs neighbours
};

inline constexpr std::array kArchitectures = {
    Architecture{.name = "LlamaForCausalLM", .model_type = "llama", .absent_kv_heads = kAsQueryHeads},
    Architecture{.name = "MistralForCausalLM", .model_type = "mistral", .window = Window::kNumber, .absent_window = 4096},
    Architecture{.name = "Qwen2ForCausalLM", .model_type = "qwen2", .window = Window::kSwitched, .qkv_bias = true},
    Architecture{.name = "Qwen3ForCausalLM",
                 .model_type = "qwen3",
                 .window = Window::kSwitched,
                 .absent_head_dim = 128,
                 .head_norms = true,
                 .gguf = "qwen3",
                 .gguf_uneven = false,
                 .gguf_pairs_halves = true},
    Architecture{.name = "SmolLM3ForCausalLM",
                 .model_type = "smollm3",
                 .absent_kv_heads = 4,
                 .absent_rope_theta = 2000000,
                 .absent_tied = true,
                 .rotary_by_layer = true,
                 .gguf = "smollm3",
                 .gguf_uneven = false},
    Architecture{
        .name = "GraniteForCausalLM", .model_type = "granite", .absent_kv_heads = kAsQueryHeads, .multipliers = true, .gguf = "granite"},
    Architecture{.name = "Phi3ForCausalLM",
                 .model_type = "phi3",
                 .window = Window::kNumber,
                 .absent_kv_heads = kAsQueryHeads,
                 .absent_norm_eps = 1e-5,
                 .fused = true},
    Architecture{.name = "GemmaForCausalLM",
                 .model_type = "gemma",
                 .absent_kv_heads = 16,
                 .absent_head_dim = 256,
                 .absent_tied = true,
                 .norm_offset = 1,
                 .activation = Activation::kGeluTanh,
                 .scaled_embeddings = true,
                 .gguf = "gemma",
                 .gguf_uneven = false,
                 .gguf_pairs_halves = true},
    Architecture{.name = "Gemma2ForCausalLM",
                 .model_type = "gemma2",
                 .window = Window::kListed,
                 .absent_window = 4096,
                 .window_pattern = 2,
                 .absent_kv_heads = 4,
                 .absent_head_dim = 256,
                 .absent_tied = true,
                 .post_norms = true,
                 .norm_offset = 1,
                 .activation = Activation::kGeluTanh,
                 .scaled_embeddings = true,
                 .score_divisor = true,
                 .caps = true,
                 .gguf = "gemma2",
                 .gguf_uneven = false,
                 .gguf_pairs_halves = true},
    Architecture{.name = "Gemma3ForCausalLM",
                 .model_type = "gemma3_text",
                 .window = Window::kListed,
                 .absent_window = 4096,
                 .window_pattern = 6,
                 .absent_head_dim = 256,
                 .absent_rope_theta = 1000000,
                 .absent_tied = true,
                 .head_norms = true,
                 .post_norms = true,
                 .norm_offset = 1,
                 .activation = Activation::kGeluTanh,
                 .scaled_embeddings = true,
                 .score_divisor = true,
                 .local_rope = true,
                 .gguf = "gemma3",
                 .gguf_uneven = false,
                 .gguf_pairs_halves = true},
    Architecture{.name = "Olmo2ForCausalLM",
                 .model_type = "olmo2",
                 .absent_kv_heads = kAsQueryHeads,
                 .absent_norm_eps = 1e-5,
                 .head_norms = true,
                 .whole_norms = true,
                 .pre_norms = false,
                 .post_norms = true,
                 .gguf = "olmo2",
                 .gguf_uneven = false,
                 .gguf_pairs_halves = true},
};

// Returns nullptr where no architecture has that name.
constexpr const Architecture* find_architecture(std::string_view name) {
  for (const Architecture& a : kArchitectures)
    if (name == a.name) return &a;
  return nullptr;
}

// Throws Error(kInternal) where the configuration names no architecture of the table.
const Architecture& architecture_of(const ModelConfig& config);

// Copies from the row how attention and MLP compute.
void take_computation(const Architecture& a, ModelConfig& out);

}  // namespace espalier

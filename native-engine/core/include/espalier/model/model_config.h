// The shape of a decoder-only LLaMA-family model, as read from a Hugging Face config.json.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/base/activation.h"

namespace espalier {

enum class RopeType { kDefault, kLinear, kLlama3, kYarn };

struct RopeScaling {
  RopeType type = RopeType::kDefault;
  double factor = 1.0;
  int64_t original_max_positions = 0;  // used by llama3 and yarn
  double low_freq_factor = 1.0;        // used only by llama3
  double high_freq_factor = 4.0;       // used only by llama3
  // Only yarn uses this and the rest: a pair that turns more often over the original positions is left alone.
  double beta_fast = 32.0;
  double beta_slow = 1.0;         // the frequency of a pair that turns less often is divided by the factor
  bool truncate = true;           // whether the limits between these pairs are rounded to whole pairs
  double attention_factor = 1.0;  // a factor of queries and keys, besides their rotation
};

// Returns the attention factor of yarn where the config names none: 0.1 ln(factor) + 1.
double default_attention_factor(double factor);

// The widths of a layer. All layers are alike in a dense model; they differ in a compacted export.
struct LayerShape {
  int64_t heads = 0;                      // query heads H_l (0: the layer has no attention)
  int64_t kv_heads = 0;                   // key/value heads G_l
  int64_t intermediate = 0;               // MLP width I_l (0: the layer has no MLP)
  std::vector<int32_t> kv_head_of_query;  // [H_l], the number of the key/value head (of G_l) that query head h reads
  bool rotary = true;                     // whether queries and keys are rotated by their positions
  bool sliding = true;                    // whether a query sees only the tokens of the model's sliding window
};

struct ModelConfig {
  std::string architecture;       // a name of core/model/architecture.h
  int64_t hidden_size = 0;        // D
  int64_t layer_count = 0;        // L
  int64_t head_count = 0;         // H of the dense model
  int64_t kv_head_count = 0;      // G of the dense model
  int64_t head_dim = 0;           // d
  int64_t intermediate_size = 0;  // I of the dense model
  int64_t vocab_size = 0;         // V
  int64_t max_positions = 0;
  int64_t sliding_window = 0;  // 0 stands for full causal attention
  double rms_norm_eps = 0;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  bool tied_embeddings = false;
  bool qkv_bias = false;
  bool head_norms = false;   // RMS norms of queries and keys, with rms_norm_eps
  bool whole_norms = false;  // one norm of all query heads and one of all key heads, instead of one for each head
  bool pre_norms = true;     // there are norms of what attention and MLP read
  bool post_norms = false;   // there are norms of what they add to the residual stream
  double norm_offset = 0;    // added to the stored weights of norms
  Activation activation = Activation::kSilu;
  double local_rope_theta = 0;      // for the layers with a sliding window, without rope_scaling; 0: the theta of all layers
  double embedding_multiplier = 1;  // a factor of what embeddings put into the residual stream
  double residual_multiplier = 1;   // a factor of what attention and MLP add to it
  double logits_divisor = 1;
  double score_scale = 0;  // a factor of a query's product with a key; 0 stands for 1 / sqrt(head_dim)
  double score_cap = 0;    // scores become score_cap * tanh(score / score_cap); 0 stands for no cap
  double logits_cap = 0;   // the same for logits
  int64_t bos_token_id = -1;
  std::vector<LayerShape> layers;  // [L]

  bool grouped_query() const { return kv_head_count != head_count; }
  bool rotary_everywhere() const;
  // Returns the number of tokens that a query of the layer sees; 0: all tokens before it.
  int64_t window_of(const LayerShape& layer) const { return layer.sliding ? sliding_window : 0; }
};

// Throws Error(kModelUnsupported | kModelCorrupt, "config.<field>", ...).
ModelConfig parse_model_config(std::string_view json);

}  // namespace espalier

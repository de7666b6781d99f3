// The names of a model's tensors in each container.
#pragma once
#include <string>

#include "model/gguf_names.h"
#include "model/tensor_names.h"

namespace espalier {

struct TensorNames {
  std::string embedding, final_norm, lm_head;
  std::string (*attention_norm)(int64_t layer);
  std::string (*mlp_norm)(int64_t layer);
  std::string (*post_attention_norm)(int64_t layer);
  std::string (*post_mlp_norm)(int64_t layer);
  std::string (*projection)(int64_t layer, int projection);
  std::string (*bias)(int64_t layer, int projection);
  std::string (*head_norm)(int64_t layer, bool key);
};

inline TensorNames hugging_face_names(const ModelConfig& config) {
  return {kEmbeddingName,
          kFinalNormName,
          kLmHeadName,
          input_norm_name,
          config.post_norms ? pre_mlp_norm_name : post_attention_norm_name,
          post_attention_norm_name,
          post_mlp_norm_name,
          projection_name,
          projection_bias_name,
          head_norm_name};
}

inline TensorNames gguf_names() {
  return {"token_embd.weight",
          "output_norm.weight",
          "output.weight",
          gguf_attention_norm_name,
          gguf_mlp_norm_name,
          gguf_post_attention_norm_name,
          gguf_post_mlp_norm_name,
          [](int64_t l, int p) { return gguf_projection_name(l, p, ".weight"); },
          [](int64_t l, int p) { return gguf_projection_name(l, p, ".bias"); },
          gguf_head_norm_name};
}

}  // namespace espalier

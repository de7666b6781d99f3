#include "export/export_checks.h"

#include <algorithm>

#include "model/gguf_names.h"
#include "model/layer_shapes.h"

namespace espalier {

// SmolLM3 differs from a LLaMA only in layers without rotary embedding.
const Architecture& computed_as(const ModelConfig& c) {
  const Architecture& a = architecture_of(c);
  return a.rotary_by_layer && c.rotary_everywhere() ? *find_architecture("LlamaForCausalLM") : a;
}

namespace {

[[noreturn]] void refuse(const char* field, const std::string& message) { throw Error(ErrorCode::kNotSupported, field, message); }

// llama.cpp has an architecture of its own for each of these models, with one width for all layers.
void check_gguf(const ModelConfig& source, ExportForm form) {
  const Architecture& a = computed_as(source);
  const bool smollm3 = !source.rotary_everywhere();
  const std::string name = a.gguf;
  const RopeScaling &rope = source.rope_scaling, usual;
  if (!a.gguf_uneven) {
    if (form == ExportForm::kCompacted) {
      refuse("form", "llama.cpp's " + name + " has one width for all layers: choose padded or masked, or the format hf-remote");
    }
    if (rope.type == RopeType::kLlama3)
      refuse("format", "llama.cpp's " + name + " knows no llama3 rope scaling: choose hf-remote, hf or masked");
  }
  for (size_t l = 0; smollm3 && l < source.layers.size(); ++l) {
    if (source.layers[l].rotary == ((static_cast<int64_t>(l) + 1) % kSmolLm3Interval != 0)) continue;
    refuse("format", "llama.cpp's smollm3 has no rotary embedding in every fourth layer; layer " + std::to_string(l) +
                         " of the model differs: choose hf-remote, hf or masked");
  }
  for (size_t l = 0; a.window == Window::kListed && l < source.layers.size(); ++l) {
    if (source.layers[l].sliding == ((static_cast<int64_t>(l) + 1) % a.window_pattern != 0)) continue;
    refuse("format", "llama.cpp's " + name + " has a sliding window in all layers but every " + std::to_string(a.window_pattern) +
                         "th; layer " + std::to_string(l) + " of the model differs: choose hf-remote, hf or masked");
  }
  if (a.local_rope &&
      (source.local_rope_theta != kGemma3LocalBase || (rope.type != RopeType::kDefault && rope.type != RopeType::kLinear))) {
    refuse("format",
           "llama.cpp's gemma3 knows rope_local_base_freq 10000, and default or linear rope scaling: choose hf-remote, hf or masked");
  }
  if (a.scaled_embeddings && !a.local_rope && !source.tied_embeddings) {
    refuse("format", "llama.cpp's " + name + " has no lm_head beside its embeddings: choose hf-remote, hf or masked");
  }
  if (a.caps && (source.score_cap == 0 || source.logits_cap == 0 || source.sliding_window == 0)) {
    refuse("format",
           "llama.cpp's " + name +
               " always caps scores and logits and has a sliding window; the model lacks one of these: choose hf-remote, hf or masked");
  }
  if (rope.type == RopeType::kYarn && (rope.beta_fast != usual.beta_fast || rope.beta_slow != usual.beta_slow || !rope.truncate)) {
    refuse("format", "llama.cpp knows yarn with beta_fast 32, beta_slow 1 and truncate: choose hf-remote, hf or masked");
  }
}

void check_blocks(const ModelConfig& source) {
  const RopeScaling& rope = source.rope_scaling;
  const char* choose = ": choose hf-remote, hf, gguf or masked";
  if (source.activation != Activation::kSilu && !source.post_norms) {
    refuse("format", std::string("vLLM's DeciLM has no GELU") + choose);
  }
  if (source.post_norms) refuse("format", std::string("vLLM's DeciLM has no norms behind attention and MLP") + choose);
  if (source.head_norms) refuse("format", std::string("vLLM's DeciLM has no norms of query and key heads") + choose);
  if (!source.rotary_everywhere()) refuse("format", std::string("vLLM's DeciLM has no layers without rotary embedding") + choose);
  if (rope.type == RopeType::kYarn && (rope.attention_factor != default_attention_factor(rope.factor) || !rope.truncate)) {
    refuse("format", std::string("vLLM knows yarn with truncate and the attention factor 0.1 ln(factor) + 1") + choose);
  }
}

}  // namespace

void check_export(const ModelConfig& source, ExportContainer container, ExportForm form, ExportDType dtype) {
  const bool gguf = container == ExportContainer::kGguf;
  if (gguf && form == ExportForm::kBlocks) {
    throw Error(ErrorCode::kNotSupported, "form",
                "the blocks of a DeciLM folder have no place in a GGUF file: choose compacted, padded or masked");
  }
  if (!gguf && dtype == ExportDType::kQ8_0) {
    throw Error(ErrorCode::kNotSupported, "dtype", "q8_0 is a type of GGUF files: choose f32, f16 or bf16 for safetensors");
  }
  if (!has_dense_layers(source) && form == ExportForm::kMasked && gguf) {
    throw Error(ErrorCode::kNotSupported, "form", "the model is compacted already, so it has no masked form: choose compacted or padded");
  }
  if (gguf) check_gguf(source, form);
  if (form == ExportForm::kBlocks) check_blocks(source);
}

// A key head that an export holds twice would count twice in the norm of all keys.
void check_whole_norms(const ExportPlan& plan) {
  for (size_t l = 0; plan.config.whole_norms && l < plan.layers.size(); ++l) {
    std::vector<int64_t> heads = plan.layers[l].kv_heads;
    std::erase(heads, kZeros);
    std::sort(heads.begin(), heads.end());
    if (std::adjacent_find(heads.begin(), heads.end()) == heads.end()) continue;
    throw Error(ErrorCode::kNotSupported, "form",
                "layer " + std::to_string(l) + " would hold a key head twice, which the norm of all keys does not allow: choose hf-remote");
  }
}

// Checks a plan in which fit_olmo2 has filled nothing up.
void check_olmo2(const ExportPlan& plan) {
  const ModelConfig& c = plan.config;
  if (plan.container != ExportContainer::kGguf || gguf_architecture(plan) != "olmo2" ||
      c.layers.front().heads * c.head_dim == c.hidden_size)
    return;
  throw Error(ErrorCode::kNotSupported, "format",
              "llama.cpp's olmo2 has heads that are together as wide as the hidden size; here they have " +
                  std::to_string(c.layers.front().heads * c.head_dim) + " and " + std::to_string(c.hidden_size) +
                  ": choose hf-remote, hf or masked");
}

}  // namespace espalier

#include "espalier/model/model_config.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "files/json_reader.h"
#include "model/architecture.h"
#include "model/layer_shapes.h"
#include "model/read_rope.h"

namespace espalier {
namespace {

constexpr int64_t kPositionsMax = int64_t{1} << 31;
constexpr double kPositive = 1e-30;  // the smallest allowed value where zero or less makes no sense
constexpr double kMultiplierMax = 1e6;

[[noreturn]] void unsupported(const std::string& field, const std::string& message) {
  throw Error(ErrorCode::kModelUnsupported, field, field + " " + message);
}

std::string supported_architectures() {
  std::string names;
  for (const Architecture& a : kArchitectures) names += std::string(names.empty() ? "" : ", ") + a.name;
  return names;
}

std::string architectures_with(bool Architecture::* fact) {
  std::string names;
  for (const Architecture& a : kArchitectures)
    if (a.*fact) names += std::string(names.empty() ? "" : ", ") + a.name;
  return names;
}

// Reads the class name from `architectures`; a bare checkpoint without it is recognised by `model_type`. A compacted export that no stock
// loader can run hides its base architecture in the `espalier` object, so that stock loaders refuse it by name.
std::string read_architecture(const JsonObject& config) {
  std::string name;
  if (const auto espalier = config.object("espalier")) name = espalier->string("base_architecture").value_or("");
  const Json* list = config.find("architectures");
  if (name.empty() && list != nullptr) {
    if (!list->is_array() || list->size() != 1 || !(*list)[0].is_string()) {
      config.fail("architectures", "is " + json_excerpt(*list) + ": it must be an array of one class name");
    }
    name = (*list)[0].get<std::string>();
  }
  if (name == "LLaMAForCausalLM") name = "LlamaForCausalLM";  // the first conversions of LLaMA 1 spell it this way
  if (name.empty()) {
    const std::string type = config.string("model_type").value_or("");
    for (const Architecture& a : kArchitectures) {
      if (type == a.model_type) return a.name;
    }
    if (!type.empty()) unsupported("config.model_type", "is \"" + type + "\": supported are " + supported_architectures());
    config.fail("architectures", "is missing: supported are " + supported_architectures());
  }
  if (find_architecture(name) != nullptr) return name;
  unsupported("config.architectures", "is \"" + name + "\": supported are " + supported_architectures());
}

// Refuses fields by which related architectures compute something else. Such a field may occur with the value that changes nothing.
void refuse_changed_computation(const JsonObject& config, const Architecture& a) {
  for (const char* key : {"logit_softcapping", "clip_qkv", "attention_chunk_size", "num_kv_shared_layers", "kv_lora_rank"}) {
    if (config.find(key) != nullptr) unsupported("config." + std::string(key), "is set: the supported architectures have no such thing");
  }
  const auto refuse_unless = [&](bool Architecture::* fact, std::initializer_list<const char*> keys) {
    for (const char* key : keys) {
      if (a.*fact || config.find(key) == nullptr) continue;
      unsupported("config." + std::string(key), "is set: supported for " + architectures_with(fact) + ", not for " + a.name);
    }
  };
  refuse_unless(&Architecture::caps, {"attn_logit_softcapping", "final_logit_softcapping"});
  refuse_unless(&Architecture::score_divisor, {"query_pre_attn_scalar"});
  refuse_unless(&Architecture::local_rope, {"rope_local_base_freq", "sliding_window_pattern", "_sliding_window_pattern"});
  for (const char* key : {"logit_scale", "scale_emb", "rope_ratio"}) {
    if (config.find(key) != nullptr && config.number_or(key, -1e30, 1e30, 1.0) != 1.0) {
      unsupported("config." + std::string(key), "is not 1: activations that are multiplied by constants are not supported");
    }
  }
  for (const char* key : {"alibi", "attn_temperature_tuning", "use_bidirectional_attention", "add_cross_attention", "use_bias"}) {
    if (config.boolean_or(key, false)) {
      unsupported("config." + std::string(key), "is true: the supported architectures have no such thing");
    }
  }
}

// Reads a cap, which null turns off.
double read_cap(const JsonObject& config, const char* key, double absent) {
  return config.contains(key) && config.find(key) == nullptr ? 0 : config.number_or(key, kPositive, kMultiplierMax, absent);
}

// Reads the constants by which Granite and Gemma scale and cap activations and scores.
void read_multipliers(const JsonObject& config, ModelConfig& out) {
  const auto read = [&](const char* key) { return config.number_or(key, kPositive, kMultiplierMax, 1.0); };
  const Architecture& a = architecture_of(out);
  if (a.caps) {
    out.score_cap = read_cap(config, "attn_logit_softcapping", kAbsentScoreCap);
    out.logits_cap = read_cap(config, "final_logit_softcapping", kAbsentLogitsCap);
  }
  if (a.multipliers) {
    out.embedding_multiplier = read("embedding_multiplier");
    out.residual_multiplier = read("residual_multiplier");
    out.logits_divisor = read("logits_scaling");
    out.score_scale = read("attention_multiplier");
    return;
  }
  if (a.score_divisor) out.score_scale = 1 / std::sqrt(config.number_or("query_pre_attn_scalar", kPositive, kMultiplierMax, 256));
  if (a.scaled_embeddings) out.embedding_multiplier = std::sqrt(static_cast<double>(out.hidden_size));
  const std::string only = ": supported for GraniteForCausalLM, not for " + out.architecture;
  if (config.find("attention_multiplier") != nullptr) unsupported("config.attention_multiplier", "is set" + only);
  for (const char* key : {"embedding_multiplier", "residual_multiplier", "logits_scaling"}) {
    if (config.find(key) != nullptr && config.number_or(key, -1e30, 1e30, 1.0) != 1.0) {
      unsupported("config." + std::string(key), "is not 1" + only);
    }
  }
}

void refuse_unsupported_features(const JsonObject& config, const Architecture& a) {
  if (config.find("quantization_config") != nullptr) {
    unsupported("config.quantization_config", "is set: quantized weights are not supported; use F32, F16 or BF16 weights");
  }
  const bool silu = a.activation == Activation::kSilu;
  const std::string known = silu ? "silu" : "gelu_pytorch_tanh";
  for (const char* key : {"hidden_act", "hidden_activation"}) {
    const std::string act = config.string(key).value_or(known);
    // The first files of Gemma say "gelu" and mean its tanh approximation.
    if (act == known || (!silu && key == std::string("hidden_act") && act == "gelu")) continue;
    unsupported("config." + std::string(key), "is \"" + act + "\": supported is " + known);
  }
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    if (config.boolean_or(key, false)) {
      unsupported("config." + std::string(key),
                  "is true: biases on o_proj or the MLP are not supported; supported are biases on q, k and v (Qwen2)");
    }
  }
  for (const char* key : {"num_local_experts", "num_experts", "n_routed_experts"}) {
    if (config.integer_or(key, 0, 1 << 20, 0) > 0) {
      unsupported("config." + std::string(key), "is set: mixtures of experts are not supported");
    }
  }
  for (const char* key : {"use_qk_norm", "qk_layernorm", "qk_norm"}) {
    if (config.boolean_or(key, false)) {
      unsupported("config." + std::string(key), "is true: norms on queries and keys are supported as Qwen3ForCausalLM has them");
    }
  }
  refuse_changed_computation(config, a);
  if (config.boolean_or("use_mrope", false)) {
    unsupported("config.use_mrope", "is true: positions of several dimensions (mrope) are not supported");
  }
  if (config.boolean_or("rope_interleaved", false)) {
    unsupported("config.rope_interleaved", "is true: rotary embedding pairs the halves of a head; interleaved pairs are not supported");
  }
  if (config.number_or("partial_rotary_factor", 0, 1, 1.0) != 1.0) {
    unsupported("config.partial_rotary_factor", "is not 1: rotary embedding of a part of a head is not supported");
  }
}

// The fields that this reader reads, or refuses by name where they change the computation.
constexpr std::string_view kRead[] = {"add_cross_attention",
                                      "alibi",
                                      "architectures",
                                      "attention_bias",
                                      "attention_chunk_size",
                                      "attention_multiplier",
                                      "attn_logit_softcapping",
                                      "attn_temperature_tuning",
                                      "block_configs",
                                      "bos_token_id",
                                      "clip_qkv",
                                      "embedding_multiplier",
                                      "espalier",
                                      "final_logit_softcapping",
                                      "head_dim",
                                      "hidden_act",
                                      "hidden_activation",
                                      "hidden_size",
                                      "intermediate_size",
                                      "kv_lora_rank",
                                      "layer_types",
                                      "logit_scale",
                                      "logit_softcapping",
                                      "logits_scaling",
                                      "max_position_embeddings",
                                      "max_window_layers",
                                      "mlp_bias",
                                      "model_type",
                                      "n_routed_experts",
                                      "no_rope_layer_interval",
                                      "no_rope_layers",
                                      "num_attention_heads",
                                      "num_experts",
                                      "num_hidden_layers",
                                      "num_key_value_heads",
                                      "num_kv_shared_layers",
                                      "num_local_experts",
                                      "partial_rotary_factor",
                                      "qk_layernorm",
                                      "qk_norm",
                                      "qkv_bias",
                                      "quantization_config",
                                      "query_pre_attn_scalar",
                                      "residual_multiplier",
                                      "rms_norm_eps",
                                      "rope_interleaved",
                                      "rope_local_base_freq",
                                      "rope_parameters",
                                      "rope_ratio",
                                      "rope_scaling",
                                      "rope_theta",
                                      "scale_emb",
                                      "sliding_window",
                                      "sliding_window_pattern",
                                      "tie_word_embeddings",
                                      "use_bias",
                                      "use_bidirectional_attention",
                                      "use_mrope",
                                      "use_qk_norm",
                                      "use_sliding_window",
                                      "vocab_size"};
// Fields that change no logits of a text: names of types and versions, training, and the search of text generation.
constexpr std::string_view kOfNoEffect[] = {"attention_dropout",
                                            "attn_implementation",
                                            "auto_map",
                                            "bad_words_ids",
                                            "begin_suppress_tokens",
                                            "cache_implementation",
                                            "chunk_size_feed_forward",
                                            "decoder_start_token_id",
                                            "diversity_penalty",
                                            "do_sample",
                                            "dtype",
                                            "early_stopping",
                                            "embd_pdrop",
                                            "encoder_no_repeat_ngram_size",
                                            "eos_token_id",
                                            "exponential_decay_length_penalty",
                                            "finetuning_task",
                                            "forced_bos_token_id",
                                            "forced_eos_token_id",
                                            "hidden_dropout",
                                            "id2label",
                                            "initializer_range",
                                            "is_decoder",
                                            "is_llama_config",
                                            "label2id",
                                            "length_penalty",
                                            "max_length",
                                            "max_sequence_length",
                                            "min_length",
                                            "no_repeat_ngram_size",
                                            "num_beam_groups",
                                            "num_beams",
                                            "num_return_sequences",
                                            "original_max_position_embeddings",
                                            "output_attentions",
                                            "output_hidden_states",
                                            "output_scores",
                                            "pad_token_id",
                                            "prefix",
                                            "pretraining_tp",
                                            "problem_type",
                                            "pruned_heads",
                                            "remove_invalid_values",
                                            "repetition_penalty",
                                            "resid_pdrop",
                                            "return_dict",
                                            "return_dict_in_generate",
                                            "sep_token_id",
                                            "suppress_tokens",
                                            "task_specific_params",
                                            "temperature",
                                            "tf_legacy_loss",
                                            "tie_encoder_decoder",
                                            "tokenizer_class",
                                            "top_k",
                                            "top_p",
                                            "torch_dtype",
                                            "torchscript",
                                            "transformers.js_config",
                                            "transformers_version",
                                            "typical_p",
                                            "unk_token_id",
                                            "unsloth_fixed",
                                            "unsloth_version",
                                            "use_bfloat16",
                                            "use_cache"};

// Refuses every other field, since it may change the computation. Where it is null or false it can't.
void refuse_unknown_fields(const Json& document) {
  const auto is_one_of = [](const auto& names, const std::string& key) {
    return std::find(std::begin(names), std::end(names), key) != std::end(names);
  };
  for (const auto& [key, value] : document.items()) {
    const bool has_no_effect = key.starts_with("_") || value.is_null() || value == false || is_one_of(kOfNoEffect, key);
    if (has_no_effect || is_one_of(kRead, key)) continue;
    unsupported("config." + key, "is unknown and may change what the model computes: remove it from config.json if it does not");
  }
}

// Tells whether the layers have the sliding window. The engine runs models in which all layers have it or none.
bool layers_slide(const JsonObject& config, const ModelConfig& model) {
  const Json* types = config.find("layer_types");
  if (types == nullptr) {
    if (architecture_of(model).window != Window::kSwitched) return true;
    const int64_t first = config.integer_or("max_window_layers", 0, INT32_MAX, 28);
    if (first > 0 && first < model.layer_count) {
      unsupported("config.max_window_layers", "is " + std::to_string(first) + " of " + std::to_string(model.layer_count) +
                                                  " layers: a sliding window in only a part of the layers is not supported");
    }
    return first == 0;
  }
  std::set<std::string> kinds;
  for (const Json& type : *types) kinds.insert(type.is_string() ? type.get<std::string>() : json_excerpt(type));
  for (const std::string& kind : kinds) {
    if (!types->is_array() || (kind != "full_attention" && kind != "sliding_attention")) {
      config.fail("layer_types", "holds " + kind + ": it must be an array of full_attention or sliding_attention");
    }
  }
  if (kinds.size() != 1) {
    unsupported("config.layer_types", "mixes kinds: a sliding window in only a part of the layers is not supported");
  }
  return kinds.contains("sliding_attention");
}

int64_t read_sliding_window(const JsonObject& config, const ModelConfig& model) {
  const Architecture& a = architecture_of(model);
  const std::string only = ": it is supported for Mistral, Qwen2, Qwen3, Phi3, Gemma2 and Gemma3, not for " + model.architecture;
  if (a.window == Window::kNone && a.rotary_by_layer) {
    if (config.boolean_or("use_sliding_window", false) && config.find("sliding_window") != nullptr) {
      unsupported("config.use_sliding_window", "is true: a sliding window in only a part of the layers is not supported");
    }
    if (config.find("layer_types") != nullptr && layers_slide(config, model)) {
      unsupported("config.layer_types", "holds sliding_attention" + only);
    }
    return 0;
  }
  if (a.window == Window::kNone) {
    if (config.find("sliding_window") != nullptr) unsupported("config.sliding_window", "is set" + only);
    return 0;
  }
  if (a.window == Window::kSwitched && !config.boolean_or("use_sliding_window", false)) return 0;
  // Where an absent window has the architecture's default, only an explicit null turns the window off.
  const int64_t absent = config.contains("sliding_window") ? 0 : a.absent_window;
  const int64_t window = config.integer_or("sliding_window", 1, kPositionsMax, absent);
  if (a.window == Window::kListed) return window;
  return window > 0 && layers_slide(config, model) ? window : 0;
}

// Reads which layers have the window: from a list with an entry for each layer, or as all layers but every N-th.
void read_sliding(const JsonObject& config, ModelConfig& model) {
  if (architecture_of(model).window != Window::kListed) return;
  const Json* types = config.find("layer_types");
  if (types == nullptr) {
    const char* key = config.find("sliding_window_pattern") != nullptr ? "sliding_window_pattern" : "_sliding_window_pattern";
    const int64_t pattern = config.integer_or(key, 1, INT32_MAX, architecture_of(model).window_pattern);
    for (int64_t l = 0; l < model.layer_count; ++l) model.layers[static_cast<size_t>(l)].sliding = (l + 1) % pattern != 0;
    return;
  }
  if (!types->is_array() || static_cast<int64_t>(types->size()) != model.layer_count) {
    config.fail("layer_types",
                "must be an array with one entry for each of the " + std::to_string(model.layer_count) + " layers of num_hidden_layers");
  }
  for (size_t l = 0; l < types->size(); ++l) {
    const Json& type = (*types)[l];
    if (type != "full_attention" && type != "sliding_attention") {
      config.fail("layer_types", "holds " + json_excerpt(type) + ": it must be an array of full_attention or sliding_attention");
    }
    model.layers[l].sliding = type == "sliding_attention";
  }
}

void read_sizes(const JsonObject& config, ModelConfig& out) {
  out.hidden_size = config.integer("hidden_size", 1, 1 << 20);
  out.layer_count = config.integer("num_hidden_layers", 1, 4096);
  out.vocab_size = config.integer("vocab_size", 1, 1 << 24);
  out.max_positions = config.integer_or("max_position_embeddings", 1, kPositionsMax, 2048);
  // The widths of the dense model. In a compacted export the espalier object holds them.
  const auto espalier = config.object("espalier");
  const auto dense = espalier ? espalier->object("dense") : std::nullopt;
  const JsonObject& widths = dense ? *dense : config;
  out.intermediate_size = widths.integer("intermediate_size", 1, 1 << 22);
  out.head_count = widths.integer("num_attention_heads", 1, 65536);
  const Architecture& a = architecture_of(out);
  if (a.absent_kv_heads == kRequired) {
    out.kv_head_count = widths.integer("num_key_value_heads", 1, 65536);
  } else {
    // SmolLM3's default applies to an absent number, not to null.
    const bool as_query = a.absent_kv_heads == kAsQueryHeads || widths.contains("num_key_value_heads");
    out.kv_head_count = widths.integer_or("num_key_value_heads", 1, 65536, as_query ? out.head_count : a.absent_kv_heads);
  }
  if (out.head_count % out.kv_head_count != 0) {
    widths.fail("num_key_value_heads",
                "is " + std::to_string(out.kv_head_count) + ": it must divide num_attention_heads " + std::to_string(out.head_count));
  }
  const int64_t absent = a.absent_head_dim > 0 ? a.absent_head_dim : out.hidden_size / out.head_count;
  if (config.find("head_dim") == nullptr && a.absent_head_dim == 0 && out.hidden_size % out.head_count != 0) {
    config.fail("head_dim", "is missing, and hidden_size " + std::to_string(out.hidden_size) +
                                " is not a multiple of num_attention_heads " + std::to_string(out.head_count));
  }
  out.head_dim = config.integer_or("head_dim", 1, 4096, absent);
  if (out.head_dim % 2 != 0) {
    config.fail("head_dim", "is " + std::to_string(out.head_dim) + ": rotary embedding needs an even size");
  }
}

// Reads which layers rotate queries and keys: from a list with at least one entry for each layer, or as all layers but every N-th.
void read_rotary(const JsonObject& config, ModelConfig& model) {
  if (!architecture_of(model).rotary_by_layer) {
    for (const char* key : {"no_rope_layers", "no_rope_layer_interval"}) {
      if (config.find(key) != nullptr) {
        unsupported("config." + std::string(key),
                    "is set: layers without rotary embedding are supported for SmolLM3ForCausalLM, not for " + model.architecture);
      }
    }
    return;
  }
  const auto interval = config.integer_or("no_rope_layer_interval", 1, INT32_MAX, 4);
  const bool listed = config.find("no_rope_layers") != nullptr;
  const std::vector<int64_t> turned = listed ? config.integers("no_rope_layers", 0, 1, 65536) : std::vector<int64_t>();
  if (listed && static_cast<int64_t>(turned.size()) < model.layer_count) {
    config.fail("no_rope_layers", "has " + std::to_string(turned.size()) + " entries: 0 or 1 for each of the " +
                                      std::to_string(model.layer_count) + " layers of num_hidden_layers is required");
  }
  for (int64_t l = 0; l < model.layer_count; ++l) {
    model.layers[static_cast<size_t>(l)].rotary = listed ? turned[static_cast<size_t>(l)] == 1 : (l + 1) % interval != 0;
  }
}

}  // namespace

const Architecture& architecture_of(const ModelConfig& config) {
  if (const Architecture* a = find_architecture(config.architecture)) return *a;
  throw Error(ErrorCode::kInternal, "architecture", "no architecture is named \"" + config.architecture + "\"");
}

void take_computation(const Architecture& a, ModelConfig& out) {
  out.qkv_bias = a.qkv_bias;
  out.head_norms = a.head_norms;
  out.whole_norms = a.whole_norms;
  out.pre_norms = a.pre_norms;
  out.post_norms = a.post_norms;
  out.norm_offset = a.norm_offset;
  out.activation = a.activation;
}

bool ModelConfig::rotary_everywhere() const {
  return std::all_of(layers.begin(), layers.end(), [](const LayerShape& layer) { return layer.rotary; });
}

ModelConfig parse_model_config(std::string_view json) {
  const Json document = parse_json(json, ErrorCode::kModelCorrupt, "config.json", kConfigLimits);
  const JsonObject config(document, "config", ErrorCode::kModelCorrupt);
  ModelConfig out;
  out.architecture = read_architecture(config);
  refuse_unsupported_features(config, architecture_of(out));
  read_sizes(config, out);
  read_rope(config, out);
  out.sliding_window = read_sliding_window(config, out);
  const Architecture& a = architecture_of(out);
  out.rms_norm_eps = config.number_or("rms_norm_eps", 0, 1, a.absent_norm_eps);
  out.tied_embeddings = config.boolean_or("tie_word_embeddings", a.absent_tied);
  take_computation(a, out);
  read_multipliers(config, out);
  if (!out.qkv_bias && config.boolean_or("qkv_bias", false)) {
    unsupported("config.qkv_bias", "is true: biases on q, k and v are supported for Qwen2ForCausalLM, not for " + out.architecture);
  }
  const Json* bos = config.find("bos_token_id");
  if (bos != nullptr && !bos->is_array()) out.bos_token_id = config.integer("bos_token_id", 0, out.vocab_size - 1);
  out.layers = read_layer_shapes(config, out);
  read_rotary(config, out);
  read_sliding(config, out);
  refuse_unknown_fields(document);
  return out;
}

}  // namespace espalier

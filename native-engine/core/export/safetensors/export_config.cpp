#include "export/safetensors/export_config.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "model/architecture.h"
#include "model/layer_shapes.h"

namespace espalier {
namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr std::array kMultipliers = {"embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling"};

OrderedJson rope_json(const RopeScaling& rope) {
  switch (rope.type) {
    case RopeType::kDefault:
      return nullptr;
    case RopeType::kLinear:
      return {{"rope_type", "linear"}, {"factor", rope.factor}};
    case RopeType::kLlama3:
      return {{"rope_type", "llama3"},
              {"factor", rope.factor},
              {"low_freq_factor", rope.low_freq_factor},
              {"high_freq_factor", rope.high_freq_factor},
              {"original_max_position_embeddings", rope.original_max_positions}};
    case RopeType::kYarn:
      return {{"rope_type", "yarn"},
              {"factor", rope.factor},
              {"original_max_position_embeddings", rope.original_max_positions},
              {"beta_fast", rope.beta_fast},
              {"beta_slow", rope.beta_slow},
              {"truncate", rope.truncate},
              {"attention_factor", rope.attention_factor}};
  }
  return nullptr;
}

// Writes which layers rotate queries and keys, in SmolLM3's form.
void set_rotary(OrderedJson& config, const ModelConfig& model) {
  if (!architecture_of(model).rotary_by_layer) return;
  OrderedJson turned = OrderedJson::array();
  for (const LayerShape& l : model.layers) turned.push_back(l.rotary ? 1 : 0);
  config["no_rope_layers"] = turned;
}

// Writes which layers have the sliding window, in Gemma's form.
void set_sliding(OrderedJson& config, const ModelConfig& model) {
  if (architecture_of(model).window != Window::kListed) return;
  OrderedJson types = OrderedJson::array();
  for (const LayerShape& l : model.layers) types.push_back(l.sliding ? "sliding_attention" : "full_attention");
  config["layer_types"] = types;
  for (const char* key : {"sliding_window_pattern", "_sliding_window_pattern"}) config.erase(key);
}

// transformers takes no whole number where it expects a fraction, so 50 is written as 50.0.
void set_caps(OrderedJson& config, const ModelConfig& model) {
  if (!architecture_of(model).caps) return;
  const auto number_or_null = [](double value) { return value > 0 ? OrderedJson(value) : OrderedJson(nullptr); };
  config["attn_logit_softcapping"] = number_or_null(model.score_cap);
  config["final_logit_softcapping"] = number_or_null(model.logits_cap);
}

// Returns query_pre_attn_scalar. transformers expects a whole number, so a fraction is written only where the model has one.
OrderedJson score_divisor(const ModelConfig& c) {
  if (c.score_scale == 0) return c.head_dim;
  const double divisor = 1 / (c.score_scale * c.score_scale), whole = std::nearbyint(divisor);
  if (std::abs(divisor - whole) < 1e-9 * divisor) return static_cast<int64_t>(whole);
  return divisor;
}

OrderedJson base_config(const ModelConfig& c) {
  const Architecture& a = architecture_of(c);
  OrderedJson out = {{"architectures", {c.architecture}},
                     {"model_type", a.model_type},
                     {"hidden_act", a.activation == Activation::kSilu ? "silu" : "gelu_pytorch_tanh"},
                     {"hidden_size", c.hidden_size},
                     {"num_hidden_layers", c.layer_count},
                     {"num_attention_heads", c.head_count},
                     {"num_key_value_heads", c.kv_head_count},
                     {"head_dim", c.head_dim},
                     {"intermediate_size", c.intermediate_size},
                     {"vocab_size", c.vocab_size},
                     {"max_position_embeddings", c.max_positions},
                     {"rms_norm_eps", c.rms_norm_eps},
                     {"rope_theta", c.rope_theta},
                     {"rope_scaling", rope_json(c.rope_scaling)},
                     {"tie_word_embeddings", c.tied_embeddings}};
  if (a.activation == Activation::kGeluTanh) out["hidden_activation"] = out["hidden_act"];  // of these two keys a Gemma reads one
  if (a.window == Window::kNumber) out["sliding_window"] = c.sliding_window > 0 ? OrderedJson(c.sliding_window) : OrderedJson(nullptr);
  if (a.window == Window::kSwitched && c.sliding_window > 0) {
    out["use_sliding_window"] = true;
    out["sliding_window"] = c.sliding_window;
    out["max_window_layers"] = 0;
  }
  if (a.score_divisor) out["query_pre_attn_scalar"] = score_divisor(c);
  if (c.local_rope_theta != 0) out["rope_local_base_freq"] = c.local_rope_theta;
  if (a.window == Window::kListed) out["sliding_window"] = c.sliding_window > 0 ? OrderedJson(c.sliding_window) : OrderedJson(nullptr);
  set_sliding(out, c);
  set_caps(out, c);
  if (a.multipliers) {
    out["embedding_multiplier"] = c.embedding_multiplier;
    out["attention_multiplier"] = c.score_scale;
    out["residual_multiplier"] = c.residual_multiplier;
    out["logits_scaling"] = c.logits_divisor;
  }
  set_rotary(out, c);
  if (c.bos_token_id >= 0) out["bos_token_id"] = c.bos_token_id;
  return out;
}

void set_dtype(OrderedJson& config, ExportDType dtype) {
  if (dtype == ExportDType::kAsSource) return;
  const char* name = dtype == ExportDType::kF32 ? "float32" : dtype == ExportDType::kBF16 ? "bfloat16" : "float16";
  config[config.contains("dtype") ? "dtype" : "torch_dtype"] = name;
}

OrderedJson layer_widths(const ModelConfig& pruned) {
  OrderedJson layers = OrderedJson::array();
  for (const LayerShape& l : pruned.layers) {
    layers.push_back({{"num_attention_heads", l.heads},
                      {"num_key_value_heads", l.kv_heads},
                      {"query_to_kv", l.kv_head_of_query},
                      {"intermediate_size", l.intermediate}});
  }
  return layers;
}

const char* window_word(Window window) {
  switch (window) {
    case Window::kNone:
      return "none";
    case Window::kNumber:
      return "number";
    case Window::kSwitched:
      return "switched";
    case Window::kListed:
      return "listed";
  }
  return "none";
}

// The facts of the architecture's row by which modeling_espalier.py computes.
OrderedJson computation(const std::string& architecture) {
  const Architecture& a = *find_architecture(architecture);
  return {{"absent_rope_theta", a.absent_rope_theta},
          {"qkv_bias", a.qkv_bias},
          {"head_norms", a.head_norms},
          {"whole_norms", a.whole_norms},
          {"pre_norms", a.pre_norms},
          {"post_norms", a.post_norms},
          {"norm_offset", a.norm_offset},
          {"gelu", a.activation == Activation::kGeluTanh},
          {"scaled_embeddings", a.scaled_embeddings},
          {"score_divisor", a.score_divisor},
          {"caps", a.caps},
          {"local_rope", a.local_rope},
          {"rotary_by_layer", a.rotary_by_layer},
          {"multipliers", a.multipliers},
          {"window", window_word(a.window)},
          {"absent_window", a.absent_window}};
}

// The object from which our own reader takes the widths of each layer.
OrderedJson espalier_object(const char* form, const std::string& architecture, const ModelConfig& dense, const ModelConfig& pruned) {
  return {{"format_version", kEspalierFormatVersion},
          {"form", form},
          {"base_architecture", architecture},
          {"computation", computation(architecture)},
          {"dense",
           {{"hidden_size", dense.hidden_size},
            {"num_attention_heads", dense.head_count},
            {"num_key_value_heads", dense.kv_head_count},
            {"intermediate_size", dense.intermediate_size}}},
          {"layers", layer_widths(pruned)}};
}

void set_common(OrderedJson& config, const ModelConfig& pruned) {
  config["hidden_size"] = pruned.hidden_size;
  config["head_dim"] = pruned.head_dim;
  config["num_hidden_layers"] = pruned.layer_count;
  config["rms_norm_eps"] = pruned.rms_norm_eps;
  if (config.contains("layer_types")) {  // one type for each layer, all alike (read_sliding_window)
    auto& types = config["layer_types"];
    types.erase(types.begin() + std::min<int64_t>(pruned.layer_count, static_cast<int64_t>(types.size())), types.end());
  }
  set_rotary(config, pruned);
  set_sliding(config, pruned);
  set_caps(config, pruned);
  if (config.contains("pretraining_tp")) config["pretraining_tp"] = 1;  // slices of the projections would not fit the new widths
}

void set_uniform(OrderedJson& config, const ModelConfig& pruned) {
  set_common(config, pruned);
  config["num_attention_heads"] = pruned.head_count;
  config["num_key_value_heads"] = pruned.kv_head_count;
  config["intermediate_size"] = pruned.intermediate_size;
  config.erase("espalier");
}

// A loader that knows only uniform layers must refuse this folder by name instead of failing on some tensor's shape.
void set_compacted(OrderedJson& config, const ModelConfig& source, const ExportPlan& plan) {
  set_common(config, plan.config);
  config["architectures"] = {folder_architecture(plan)};
  config["model_type"] = "espalier_compacted";
  config["auto_map"] = {{"AutoConfig", "configuration_espalier.EspalierCompactedConfig"},
                        {"AutoModelForCausalLM", "modeling_espalier.EspalierCompactedForCausalLM"}};
  for (const char* key : {"num_attention_heads", "num_key_value_heads", "intermediate_size"}) config.erase(key);
  // A source that is already compacted keeps its own object, with the sizes of the first dense model.
  if (!has_dense_layers(source) && config.contains("espalier")) {
    config["espalier"]["layers"] = layer_widths(plan.config);
    config["espalier"]["computation"] = computation(source.architecture);
  } else {
    config["espalier"] = espalier_object("compacted", source.architecture, source, plan.config);
  }
}

// Writes the config of vLLM's DeciLM: all layers that have attention have the same number of heads, and each MLP has its own width.
void set_blocks(OrderedJson& config, const ModelConfig& source, const ExportPlan& plan) {
  const ModelConfig& pruned = plan.config;
  set_uniform(config, pruned);
  OrderedJson blocks = OrderedJson::array();
  for (const LayerShape& l : pruned.layers) {
    OrderedJson attention = {{"no_op", l.heads == 0}}, ffn = {{"no_op", l.intermediate == 0}};
    if (l.heads > 0) attention["n_heads_in_group"] = l.heads / l.kv_heads;
    if (l.intermediate > 0) ffn["intermediate_size"] = l.intermediate;
    blocks.push_back({{"attention", attention}, {"ffn", ffn}});
  }
  config["architectures"] = {folder_architecture(plan)};
  config["model_type"] = "nemotron-nas";
  config["auto_map"] = {{"AutoConfig", "configuration_decilm.DeciLMConfig"}};
  config["block_configs"] = blocks;
  ModelConfig widest = pruned;
  for (const LayerShape& l : pruned.layers) widest.intermediate_size = std::max(widest.intermediate_size, l.intermediate);
  widest.intermediate_size = std::max<int64_t>(widest.intermediate_size, 1);
  config["intermediate_size"] = widest.intermediate_size;
  if (source.qkv_bias) config["qkv_bias"] = true;
  if (source.rope_scaling.type == RopeType::kYarn) config["rope_scaling"] = rope_json(source.rope_scaling);  // vLLM needs all fields
  // DeciLM has no window. Up to the window's length, full attention is the same.
  for (const char* key : {"sliding_window", "use_sliding_window", "max_window_layers", "layer_types"}) config.erase(key);
  for (const char* key : kMultipliers) config.erase(key);  // the multipliers are folded into the weights
  config["max_position_embeddings"] = context_length(plan);
  config["espalier"] = espalier_object("blocks", source.qkv_bias ? source.architecture : "LlamaForCausalLM", widest, pruned);
}

}  // namespace

std::string folder_architecture(const ExportPlan& plan) {
  switch (plan.form) {
    case ExportForm::kCompacted:
      return "EspalierCompactedForCausalLM";
    case ExportForm::kBlocks:
      return "DeciLMForCausalLM";
    default:
      return plan.config.architecture;
  }
}

std::string export_config_json(const std::string& source_json, const ModelConfig& source, const ExportPlan& plan, ExportDType dtype) {
  OrderedJson config;
  if (source_json.empty()) {
    config = base_config(source);
  } else {
    // A strict check; its result does not keep the order of keys.
    parse_json(source_json, ErrorCode::kModelCorrupt, "config.json", kConfigLimits);
    config = OrderedJson::parse(source_json);
    if (!config.is_object()) throw Error(ErrorCode::kModelCorrupt, "config", "config.json must be an object");
  }
  set_dtype(config, dtype);
  config["tie_word_embeddings"] = plan.config.tied_embeddings;
  if (plan.form == ExportForm::kCompacted) set_compacted(config, source, plan);
  if (plan.form == ExportForm::kBlocks) set_blocks(config, source, plan);
  if (plan.form == ExportForm::kPadded) {
    if (!has_dense_layers(source)) {  // our own names are dropped together with the uneven layers
      const OrderedJson plain = base_config(source);
      for (const char* key : {"architectures", "model_type"}) config[key] = plain[key];
      config.erase("auto_map");
    }
    set_uniform(config, plan.config);
  }
  return config.dump(2) + "\n";
}

}  // namespace espalier

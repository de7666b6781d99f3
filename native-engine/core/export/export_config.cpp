#include "export/export_config.h"

#include <algorithm>

#include "model/layer_shapes.h"

namespace espalier {
namespace {

using OrderedJson = nlohmann::ordered_json;

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
  }
  return nullptr;
}

OrderedJson base_config(const ModelConfig& c) {
  const std::string type = c.architecture == "MistralForCausalLM" ? "mistral" : c.architecture == "Qwen2ForCausalLM" ? "qwen2" : "llama";
  OrderedJson out = {{"architectures", {c.architecture}},
                     {"model_type", type},
                     {"hidden_act", "silu"},
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
  if (type == "mistral") out["sliding_window"] = c.sliding_window > 0 ? OrderedJson(c.sliding_window) : OrderedJson(nullptr);
  if (type == "qwen2" && c.sliding_window > 0) {
    out["use_sliding_window"] = true;
    out["sliding_window"] = c.sliding_window;
    out["max_window_layers"] = 0;
  }
  if (c.bos_token_id >= 0) out["bos_token_id"] = c.bos_token_id;
  return out;
}

void set_dtype(OrderedJson& config, ExportDType dtype) {
  if (dtype == ExportDType::kAsSource) return;
  const char* name = dtype == ExportDType::kF32 ? "float32" : dtype == ExportDType::kBF16 ? "bfloat16" : "float16";
  config[config.contains("dtype") ? "dtype" : "torch_dtype"] = name;
}

// Whether all layers have the same widths and the usual grouping of query heads: then the plain fields can say them.
bool is_uniform(const std::vector<LayerShape>& layers) {
  const LayerShape& first = layers.front();
  if (first.heads == 0 || first.intermediate == 0 || first.heads % first.kv_heads != 0) return false;
  for (int64_t h = 0; h < first.heads; ++h) {
    if (first.kv_head_of_query[static_cast<size_t>(h)] != h / (first.heads / first.kv_heads)) return false;
  }
  return std::all_of(layers.begin(), layers.end(), [&](const LayerShape& l) {
    return l.heads == first.heads && l.kv_heads == first.kv_heads && l.intermediate == first.intermediate &&
           l.kv_head_of_query == first.kv_head_of_query;
  });
}

void set_compacted(OrderedJson& config, const ModelConfig& source, const ExportPlan& plan) {
  const ModelConfig& pruned = plan.config;
  OrderedJson layers = OrderedJson::array();
  for (const LayerShape& l : pruned.layers) {
    layers.push_back({{"num_attention_heads", l.heads},
                      {"num_key_value_heads", l.kv_heads},
                      {"query_to_kv", l.kv_head_of_query},
                      {"intermediate_size", l.intermediate}});
  }
  const OrderedJson dense = {{"hidden_size", source.hidden_size},
                             {"num_attention_heads", source.head_count},
                             {"num_key_value_heads", source.kv_head_count},
                             {"intermediate_size", source.intermediate_size}};
  config["hidden_size"] = pruned.hidden_size;
  config["head_dim"] = pruned.head_dim;
  config["rms_norm_eps"] = pruned.rms_norm_eps;
  if (keeps_architecture(plan)) {
    config["num_attention_heads"] = pruned.layers.front().heads;
    config["num_key_value_heads"] = pruned.layers.front().kv_heads;
    config["intermediate_size"] = pruned.layers.front().intermediate;
  } else {
    // A loader that knows only uniform layers must refuse this folder by name instead of failing on some tensor's shape.
    config["architectures"] = {"EspalierCompactedForCausalLM"};
    config["model_type"] = "espalier_compacted";
    for (const char* key : {"num_attention_heads", "num_key_value_heads", "intermediate_size"}) config.erase(key);
  }
  config["espalier"] = {{"format_version", kEspalierFormatVersion},
                        {"form", "compacted"},
                        {"base_architecture", source.architecture},
                        {"dense", dense},
                        {"layers", layers}};
}

}  // namespace

bool keeps_architecture(const ExportPlan& plan) { return !plan.compacted || is_uniform(plan.config.layers); }

std::string export_config_json(const std::string& source_json, const ModelConfig& source, const ExportPlan& plan, ExportDType dtype) {
  OrderedJson config;
  if (source_json.empty()) {
    config = base_config(source);
  } else {
    parse_json(source_json, ErrorCode::kModelCorrupt, "config.json");  // strict; keeps no order
    config = OrderedJson::parse(source_json);
    if (!config.is_object()) throw Error(ErrorCode::kModelCorrupt, "config", "config.json must be an object");
  }
  set_dtype(config, dtype);
  config["tie_word_embeddings"] = plan.config.tied_embeddings;
  // A source that is compacted already keeps its own espalier object, with the sizes of the first dense model.
  if (plan.compacted && !(config.contains("espalier") && !has_dense_layers(source))) set_compacted(config, source, plan);
  return config.dump(2) + "\n";
}

}  // namespace espalier

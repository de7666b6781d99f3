#include "espalier/model/model_config.h"

#include <nlohmann/json.hpp>

#include "test_files.h"

namespace espalier {
namespace {

using nlohmann::json;
using test::expect_error;

json llama() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_act", "silu"},
          {"hidden_size", 64},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 8},
          {"num_key_value_heads", 2},
          {"intermediate_size", 160},
          {"vocab_size", 100},
          {"max_position_embeddings", 512},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 500000}};
}

json with(json base, const json& changes) {
  for (const auto& [key, value] : changes.items()) base[key] = value;
  return base;
}

json without(json base, const char* key) {
  base.erase(key);
  return base;
}

ModelConfig parse(const json& config) { return parse_model_config(config.dump()); }

TEST(ModelConfig, ReadsTheModelsOfTheRepository) {
  const ModelConfig fact = parse_model_config(test::read_file(test::factbook_model() + "/config.json"));
  EXPECT_EQ(fact.hidden_size, 192);
  EXPECT_EQ(fact.layer_count, 6);
  EXPECT_FALSE(fact.grouped_query());
  EXPECT_FALSE(fact.tied_embeddings);
  const ModelConfig tiny = parse_model_config(test::read_file(test::tiny_model() + "/config.json"));
  EXPECT_TRUE(tiny.tied_embeddings);
  EXPECT_EQ(tiny.head_dim, 8);
  EXPECT_EQ(tiny.rope_scaling.type, RopeType::kLlama3);
  EXPECT_EQ(tiny.rope_scaling.original_max_positions, 64);
  EXPECT_EQ(tiny.layers.at(1).kv_head_of_query, (std::vector<int32_t>{0, 0, 0, 0, 1, 1, 1, 1}));
}

TEST(ModelConfig, AnUnknownFieldIsRefusedUnlessItIsOff) {
  const json refused = {{"use_parallel_residual", true},
                        {"parallel_attn", true},
                        {"residual_scale", 0.5},
                        {"position_embedding_type", "alibi"},
                        {"mlp_layers", {1, 2}}};
  for (const auto& [key, value] : refused.items())
    expect_error(ErrorCode::kModelUnsupported, "config." + key, "may change what the model computes",
                 [&] { parse(with(llama(), {{key, value}})); });
  const json taken = {{"use_parallel_residual", false},
                      {"residual_scale", nullptr},
                      {"_name_or_path", "here"},
                      {"transformers_version", "4.50.0"},
                      {"num_beams", 1}};
  for (const auto& [key, value] : taken.items()) EXPECT_EQ(parse(with(llama(), {{key, value}})).hidden_size, 64) << key;
}

TEST(ModelConfig, DefaultsOfLlama) {
  json config = llama();
  for (const char* key : {"num_key_value_heads", "rms_norm_eps", "rope_theta", "max_position_embeddings", "hidden_act"}) config.erase(key);
  const ModelConfig c = parse(config);
  EXPECT_EQ(c.kv_head_count, 8);
  EXPECT_EQ(c.rms_norm_eps, 1e-6);
  EXPECT_EQ(c.rope_theta, 10000.0);
  EXPECT_EQ(c.max_positions, 2048);
  EXPECT_EQ(c.head_dim, 8);
  EXPECT_EQ(c.sliding_window, 0);
  EXPECT_EQ(c.bos_token_id, -1);
  EXPECT_EQ(parse(with(llama(), {{"head_dim", 16}})).head_dim, 16);
  EXPECT_EQ(parse(without(llama(), "architectures")).architecture, "LlamaForCausalLM");
}

TEST(ModelConfig, RopeScalingInOldAndNewSpelling) {
  const json linear = {{"type", "linear"}, {"factor", 4}};
  EXPECT_EQ(parse(with(llama(), {{"rope_scaling", linear}})).rope_scaling.type, RopeType::kLinear);
  EXPECT_EQ(parse(with(llama(), {{"rope_scaling", linear}})).rope_scaling.factor, 4.0);
  const json parameters = {{"rope_type", "llama3"},  {"rope_theta", 250000.0},  {"factor", 8.0},
                           {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}, {"original_max_position_embeddings", 8192}};
  const ModelConfig c = parse(with(without(llama(), "rope_theta"), {{"rope_parameters", parameters}}));
  EXPECT_EQ(c.rope_theta, 250000.0);
  EXPECT_EQ(c.rope_scaling.type, RopeType::kLlama3);
  EXPECT_EQ(c.rope_scaling.factor, 8.0);
  EXPECT_EQ(parse(with(llama(), {{"rope_scaling", {{"rope_type", "default"}}}})).rope_scaling.type, RopeType::kDefault);
  EXPECT_EQ(parse(with(llama(), {{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 7.5}}}})).rope_theta, 7.5);
}

TEST(ModelConfig, YarnWithItsDefaultsAndWithout) {
  const auto yarn = [](const json& changes) {
    return parse(with(llama(), {{"rope_scaling", with({{"rope_type", "yarn"}, {"factor", 4.0}}, changes)}})).rope_scaling;
  };
  const RopeScaling usual = yarn(json::object());
  EXPECT_EQ(usual.type, RopeType::kYarn);
  EXPECT_EQ(usual.original_max_positions, 512);
  EXPECT_EQ(usual.beta_fast, 32.0);
  EXPECT_EQ(usual.beta_slow, 1.0);
  EXPECT_TRUE(usual.truncate);
  EXPECT_NEAR(usual.attention_factor, 1.1386294361119891, 1e-15);  // 0.1 ln 4 + 1
  EXPECT_EQ(yarn({{"attention_factor", 0.75}}).attention_factor, 0.75);
  EXPECT_EQ(yarn({{"factor", 1.0}}).attention_factor, 1.0);
  // The values that DeepSeek publishes: (0.1 * 0.5 ln 4 + 1) / (0.1 * 2 ln 4 + 1).
  EXPECT_NEAR(yarn({{"mscale", 0.5}, {"mscale_all_dim", 2.0}}).attention_factor, 1.0693147180559945 / 1.2772588722239782, 1e-15);
  const RopeScaling other = yarn({{"original_max_position_embeddings", 64}, {"beta_fast", 16}, {"beta_slow", 2}, {"truncate", false}});
  EXPECT_EQ(other.original_max_positions, 64);
  EXPECT_EQ(other.beta_fast, 16.0);
  EXPECT_EQ(other.beta_slow, 2.0);
  EXPECT_FALSE(other.truncate);
  expect_error(ErrorCode::kModelCorrupt, "config.rope_scaling.beta_fast", "greater than beta_slow", [&] { yarn({{"beta_fast", 1}}); });
  expect_error(ErrorCode::kModelCorrupt, "config.rope_scaling.factor", "missing", [&] { yarn({{"factor", nullptr}}); });
}

TEST(ModelConfig, DefaultsOfQwen3AndSmolLm3) {
  const json small = without(without(llama(), "rope_theta"), "num_key_value_heads");
  const ModelConfig smol = parse(with(small, {{"architectures", {"SmolLM3ForCausalLM"}}, {"num_hidden_layers", 9}}));
  EXPECT_EQ(smol.rope_theta, 2000000.0);
  EXPECT_EQ(smol.kv_head_count, 4);
  EXPECT_TRUE(smol.tied_embeddings);
  EXPECT_EQ(smol.sliding_window, 0);
  for (size_t l = 0; l < 9; ++l) EXPECT_EQ(smol.layers[l].rotary, l != 3 && l != 7);
  const auto turned = [&](const json& changes) {
    std::vector<bool> of;
    for (const LayerShape& l : parse(with(with(llama(), {{"architectures", {"SmolLM3ForCausalLM"}}}), changes)).layers)
      of.push_back(l.rotary);
    return of;
  };
  EXPECT_EQ(turned({{"no_rope_layer_interval", 2}}), (std::vector<bool>{true, false}));
  EXPECT_EQ(turned({{"no_rope_layers", {0, 1, 0}}, {"no_rope_layer_interval", 2}}), (std::vector<bool>{false, true}));
  expect_error(ErrorCode::kModelCorrupt, "config.no_rope_layers", "each of the 2 layers", [&] { turned({{"no_rope_layers", {1}}}); });
  expect_error(ErrorCode::kModelCorrupt, "config.no_rope_layers", "from 0 to 1", [&] { turned({{"no_rope_layers", {1, 2}}}); });

  const ModelConfig qwen = parse(with(llama(), {{"architectures", {"Qwen3ForCausalLM"}}}));
  EXPECT_EQ(qwen.head_dim, 128);  // differs from hidden_size / num_attention_heads
  EXPECT_TRUE(qwen.head_norms);
  EXPECT_FALSE(qwen.qkv_bias);
  json windowed = with(llama(), {{"architectures", {"Qwen3ForCausalLM"}}, {"sliding_window", 32}});
  EXPECT_EQ(parse(windowed).sliding_window, 0);
  EXPECT_EQ(parse(with(windowed, {{"use_sliding_window", true}, {"max_window_layers", 0}})).sliding_window, 32);
}

TEST(ModelConfig, SlidingWindows) {
  json mistral = with(llama(), {{"architectures", {"MistralForCausalLM"}}, {"model_type", "mistral"}});
  EXPECT_EQ(parse(with(mistral, {{"sliding_window", nullptr}})).sliding_window, 0);
  EXPECT_EQ(parse(with(mistral, {{"sliding_window", 77}})).sliding_window, 77);
  EXPECT_EQ(parse(mistral).sliding_window, 4096);  // the architecture's default
  json qwen = with(llama(), {{"architectures", {"Qwen2ForCausalLM"}}, {"sliding_window", 32}});
  EXPECT_TRUE(parse(qwen).qkv_bias);
  EXPECT_EQ(parse(qwen).sliding_window, 0);
  EXPECT_EQ(parse(with(qwen, {{"use_sliding_window", true}, {"max_window_layers", 2}})).sliding_window, 0);
  EXPECT_EQ(parse(with(qwen, {{"use_sliding_window", true}, {"max_window_layers", 0}})).sliding_window, 32);
  expect_error(ErrorCode::kModelUnsupported, "config.max_window_layers", "only a part of the layers",
               [&] { parse(with(qwen, {{"use_sliding_window", true}, {"max_window_layers", 1}})); });
  expect_error(ErrorCode::kModelUnsupported, "config.layer_types", "mixes",
               [&] { parse(with(qwen, {{"use_sliding_window", true}, {"layer_types", {"full_attention", "sliding_attention"}}})); });
}

TEST(ModelConfig, RefusesByNameWhatItCannotRun) {
  const auto refused = [](const json& changes, const std::string& field, const std::string& message) {
    expect_error(ErrorCode::kModelUnsupported, field, message, [&] { parse(with(llama(), changes)); });
  };
  refused({{"architectures", {"GPT2LMHeadModel"}}}, "config.architectures", "GPT2LMHeadModel");
  refused({{"architectures", {"Qwen3MoeForCausalLM"}}}, "config.architectures", "Qwen3ForCausalLM");
  refused({{"hidden_act", "gelu"}}, "config.hidden_act", "silu");
  refused({{"attention_bias", true}}, "config.attention_bias", "o_proj");
  refused({{"mlp_bias", true}}, "config.mlp_bias", "not supported");
  refused({{"quantization_config", {{"bits", 4}}}}, "config.quantization_config", "quantized");
  refused({{"partial_rotary_factor", 0.5}}, "config.partial_rotary_factor", "not supported");
  refused({{"sliding_window", 128}}, "config.sliding_window", "LlamaForCausalLM");
  for (const char* type : {"dynamic", "longrope", "su"}) {
    refused({{"rope_scaling", {{"rope_type", type}, {"factor", 2.0}}}}, "config.rope_scaling.rope_type", "default, linear, llama3");
    refused({{"rope_scaling", {{"type", type}, {"factor", 2.0}}}}, "config.rope_scaling.type", type);
  }
  expect_error(ErrorCode::kModelUnsupported, "config.model_type", "gpt2",
               [] { parse(with(without(llama(), "architectures"), {{"model_type", "gpt2"}})); });
}

TEST(ModelConfig, NamesTheFieldThatIsWrong) {
  const auto corrupt = [](const json& changes, const std::string& field, const std::string& message) {
    expect_error(ErrorCode::kModelCorrupt, field, message, [&] { parse(with(llama(), changes)); });
  };
  for (const char* key : {"hidden_size", "num_hidden_layers", "vocab_size", "intermediate_size", "num_attention_heads"}) {
    expect_error(ErrorCode::kModelCorrupt, std::string("config.") + key, "is missing", [&] { parse(without(llama(), key)); });
    corrupt({{key, 0}}, std::string("config.") + key, "integer from 1");
    corrupt({{key, -5}}, std::string("config.") + key, "integer from 1");
    corrupt({{key, "8"}}, std::string("config.") + key, "integer from 1");
    corrupt({{key, 1e300}}, std::string("config.") + key, "integer from 1");
    corrupt({{key, 18446744073709551615u}}, std::string("config.") + key, "integer from 1");
  }
  corrupt({{"num_key_value_heads", 3}}, "config.num_key_value_heads", "must divide");
  corrupt({{"num_attention_heads", 10}, {"num_key_value_heads", 10}}, "config.head_dim", "not a multiple");
  corrupt({{"head_dim", 7}}, "config.head_dim", "even");
  corrupt({{"rms_norm_eps", "small"}}, "config.rms_norm_eps", "number");
  corrupt({{"rope_theta", 0}}, "config.rope_theta", "number");
  corrupt({{"rope_scaling", 3}}, "config.rope_scaling", "object");
  corrupt({{"rope_scaling", {{"rope_type", "llama3"}, {"factor", 8}}}}, "config.rope_scaling.low_freq_factor", "is missing");
  corrupt({{"tie_word_embeddings", 1}}, "config.tie_word_embeddings", "true or false");
  corrupt({{"architectures", json::array()}}, "config.architectures", "one class name");
  expect_error(ErrorCode::kModelCorrupt, "config.json", "not valid JSON", [] { parse_model_config("{\"hidden_size\": 6"); });
  expect_error(ErrorCode::kModelCorrupt, "config.json", "twice", [] { parse_model_config("{\"a\": 1, \"a\": 2}"); });
  expect_error(ErrorCode::kModelCorrupt, "config", "object", [] { parse_model_config("[]"); });
  expect_error(ErrorCode::kModelCorrupt, "config.json", "deeper",
               [] { parse_model_config(std::string(100000, '[') + std::string(100000, ']')); });
  json many = llama();
  for (int i = 0; i < 25'000; ++i) many["extra" + std::to_string(i)] = json::object();
  expect_error(ErrorCode::kFileTooLarge, "config.json", "more than 1024 keys", [&] { parse(many); });
}

TEST(ModelConfig, PerLayerWidthsOfACompactedModel) {
  const json full = {{"num_attention_heads", 3}, {"num_key_value_heads", 2}, {"query_to_kv", {0, 1, 1}}, {"intermediate_size", 7}};
  const json bare = {{"num_attention_heads", 0}, {"num_key_value_heads", 0}, {"query_to_kv", json::array()}, {"intermediate_size", 0}};
  const json dense = {{"num_attention_heads", 8}, {"num_key_value_heads", 2}, {"intermediate_size", 160}};
  const auto compacted = [&](const json& first) {
    json config = with(llama(), {{"architectures", {"EspalierCompactedForCausalLM"}}, {"head_dim", 8}, {"hidden_size", 41}});
    for (const char* key : {"num_attention_heads", "num_key_value_heads", "intermediate_size"}) config.erase(key);
    config["espalier"] = {{"format_version", 1}, {"base_architecture", "LlamaForCausalLM"}, {"dense", dense}, {"layers", {first, bare}}};
    return config;
  };
  const ModelConfig c = parse(compacted(full));
  EXPECT_EQ(c.architecture, "LlamaForCausalLM");
  EXPECT_EQ(c.hidden_size, 41);
  EXPECT_EQ(c.head_count, 8);
  EXPECT_EQ(c.layers[0].kv_head_of_query, (std::vector<int32_t>{0, 1, 1}));
  EXPECT_EQ(c.layers[0].intermediate, 7);
  EXPECT_EQ(c.layers[1].heads, 0);
  expect_error(ErrorCode::kModelCorrupt, "config.espalier.layers[0].query_to_kv", "one for each",
               [&] { parse(compacted(with(full, {{"query_to_kv", {0}}}))); });
  expect_error(ErrorCode::kModelCorrupt, "config.espalier.layers[0].query_to_kv", "holds 2",
               [&] { parse(compacted(with(full, {{"query_to_kv", {0, 1, 2}}}))); });
  expect_error(ErrorCode::kModelCorrupt, "config.espalier.layers[0].num_attention_heads", "from 0 to 8",
               [&] { parse(compacted(with(full, {{"num_attention_heads", 9}}))); });
  json newer = compacted(full);
  newer["espalier"]["format_version"] = 2;
  expect_error(ErrorCode::kModelUnsupported, "config.espalier.format_version", "reads up to 1", [&] { parse(newer); });
}

}  // namespace
}  // namespace espalier

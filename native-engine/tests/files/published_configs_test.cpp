// Reads config.json as the supported families publish it. The values that matter are read, and what the engine can't run is refused by the
// name of its field.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "espalier/model/model_config.h"
#include "test_files.h"

namespace espalier {
namespace {

struct Published {
  const char* name;
  const char* json;
  const char* architecture;
  int64_t hidden, layers, heads, kv_heads, head_dim, intermediate, window;
  double theta, eps;
  RopeType rope;
  bool tied, bias;
};

const Published kPublished[] = {
    {"llama_1_7b", R"({"architectures":["LLaMAForCausalLM"],"bos_token_id":0,"eos_token_id":1,"hidden_act":"silu","hidden_size":4096,
      "intermediate_size":11008,"initializer_range":0.02,"max_sequence_length":2048,"model_type":"llama","num_attention_heads":32,
      "num_hidden_layers":32,"pad_token_id":-1,"rms_norm_eps":1e-06,"torch_dtype":"float16","use_cache":true,"vocab_size":32000})",
     "LlamaForCausalLM", 4096, 32, 32, 32, 128, 11008, 0, 10000, 1e-6, RopeType::kDefault, false, false},
    {"llama_2_70b", R"({"architectures":["LlamaForCausalLM"],"bos_token_id":1,"eos_token_id":2,"hidden_act":"silu","hidden_size":8192,
      "intermediate_size":28672,"max_position_embeddings":4096,"model_type":"llama","num_attention_heads":64,"num_hidden_layers":80,
      "num_key_value_heads":8,"pretraining_tp":1,"rms_norm_eps":1e-05,"rope_scaling":null,"tie_word_embeddings":false,"vocab_size":32000})",
     "LlamaForCausalLM", 8192, 80, 64, 8, 128, 28672, 0, 10000, 1e-5, RopeType::kDefault, false, false},
    {"llama_3_8b", R"({"architectures":["LlamaForCausalLM"],"attention_bias":false,"attention_dropout":0.0,"bos_token_id":128000,
      "eos_token_id":128001,"hidden_act":"silu","hidden_size":4096,"intermediate_size":14336,"max_position_embeddings":8192,"model_type":"llama",
      "num_attention_heads":32,"num_hidden_layers":32,"num_key_value_heads":8,"rms_norm_eps":1e-05,"rope_scaling":null,"rope_theta":500000.0,
      "tie_word_embeddings":false,"vocab_size":128256})",
     "LlamaForCausalLM", 4096, 32, 32, 8, 128, 14336, 0, 500000, 1e-5, RopeType::kDefault, false, false},
    {"llama_3_2_1b",
     R"({"architectures":["LlamaForCausalLM"],"attention_bias":false,"bos_token_id":128000,"eos_token_id":[128001,128008,128009],
      "head_dim":64,"hidden_act":"silu","hidden_size":2048,"intermediate_size":8192,"max_position_embeddings":131072,"mlp_bias":false,
      "model_type":"llama","num_attention_heads":32,"num_hidden_layers":16,"num_key_value_heads":8,"rms_norm_eps":1e-05,
      "rope_scaling":{"factor":32.0,"high_freq_factor":4.0,"low_freq_factor":1.0,"original_max_position_embeddings":8192,"rope_type":"llama3"},
      "rope_theta":500000.0,"tie_word_embeddings":true,"vocab_size":128256})",
     "LlamaForCausalLM", 2048, 16, 32, 8, 64, 8192, 0, 500000, 1e-5, RopeType::kLlama3, true, false},
    {"mistral_7b_v0_1", R"({"architectures":["MistralForCausalLM"],"bos_token_id":1,"eos_token_id":2,"hidden_act":"silu","hidden_size":4096,
      "intermediate_size":14336,"max_position_embeddings":32768,"model_type":"mistral","num_attention_heads":32,"num_hidden_layers":32,
      "num_key_value_heads":8,"rms_norm_eps":1e-05,"rope_theta":10000.0,"sliding_window":4096,"tie_word_embeddings":false,"vocab_size":32000})",
     "MistralForCausalLM", 4096, 32, 32, 8, 128, 14336, 4096, 10000, 1e-5, RopeType::kDefault, false, false},
    {"mistral_nemo", R"({"architectures":["MistralForCausalLM"],"bos_token_id":1,"head_dim":128,"hidden_act":"silu","hidden_size":5120,
      "intermediate_size":14336,"max_position_embeddings":131072,"model_type":"mistral","num_attention_heads":32,"num_hidden_layers":40,
      "num_key_value_heads":8,"rms_norm_eps":1e-05,"rope_theta":1000000.0,"sliding_window":null,"tie_word_embeddings":false,"vocab_size":131072})",
     "MistralForCausalLM", 5120, 40, 32, 8, 128, 14336, 0, 1000000, 1e-5, RopeType::kDefault, false, false},
    {"tinyllama_1_1b",
     R"({"architectures":["LlamaForCausalLM"],"attention_bias":false,"bos_token_id":1,"eos_token_id":2,"hidden_act":"silu",
      "hidden_size":2048,"intermediate_size":5632,"max_position_embeddings":2048,"model_type":"llama","num_attention_heads":32,
      "num_hidden_layers":22,"num_key_value_heads":4,"pretraining_tp":1,"rms_norm_eps":1e-05,"rope_scaling":null,"rope_theta":10000.0,
      "tie_word_embeddings":false,"vocab_size":32000})",
     "LlamaForCausalLM", 2048, 22, 32, 4, 64, 5632, 0, 10000, 1e-5, RopeType::kDefault, false, false},
    {"smollm2_135m",
     R"({"architectures":["LlamaForCausalLM"],"attention_bias":false,"attention_dropout":0.0,"bos_token_id":0,"eos_token_id":0,
      "hidden_act":"silu","hidden_size":576,"intermediate_size":1536,"is_llama_config":true,"max_position_embeddings":8192,"mlp_bias":false,
      "model_type":"llama","num_attention_heads":9,"num_hidden_layers":30,"num_key_value_heads":3,"pretraining_tp":1,"rms_norm_eps":1e-05,
      "rope_interleaved":false,"rope_scaling":null,"rope_theta":100000,"tie_word_embeddings":true,"vocab_size":49152})",
     "LlamaForCausalLM", 576, 30, 9, 3, 64, 1536, 0, 100000, 1e-5, RopeType::kDefault, true, false},
    {"qwen2_5_0_5b", R"({"architectures":["Qwen2ForCausalLM"],"attention_dropout":0.0,"bos_token_id":151643,"eos_token_id":151643,
      "hidden_act":"silu","hidden_size":896,"intermediate_size":4864,"max_position_embeddings":32768,"max_window_layers":24,"model_type":"qwen2",
      "num_attention_heads":14,"num_hidden_layers":24,"num_key_value_heads":2,"rms_norm_eps":1e-06,"rope_theta":1000000.0,"sliding_window":32768,
      "tie_word_embeddings":true,"use_mrope":false,"use_sliding_window":false,"vocab_size":151936})",
     "Qwen2ForCausalLM", 896, 24, 14, 2, 64, 4864, 0, 1000000, 1e-6, RopeType::kDefault, true, true},
    {"llama_3_3_70b",
     R"({"architectures":["LlamaForCausalLM"],"attention_bias":false,"attention_dropout":0.0,"bos_token_id":128000,
      "eos_token_id":[128001,128008,128009],"hidden_act":"silu","hidden_size":8192,"intermediate_size":28672,"max_position_embeddings":131072,
      "mlp_bias":false,"model_type":"llama","num_attention_heads":64,"num_hidden_layers":80,"num_key_value_heads":8,"pretraining_tp":1,
      "rms_norm_eps":1e-05,
      "rope_scaling":{"factor":8.0,"high_freq_factor":4.0,"low_freq_factor":1.0,"original_max_position_embeddings":8192,"rope_type":"llama3"},
      "rope_theta":500000.0,"tie_word_embeddings":false,"vocab_size":128256})",
     "LlamaForCausalLM", 8192, 80, 64, 8, 128, 28672, 0, 500000, 1e-5, RopeType::kLlama3, false, false},
    {"qwen3_0_6b", R"({"architectures":["Qwen3ForCausalLM"],"attention_bias":false,"attention_dropout":0.0,"bos_token_id":151643,
      "eos_token_id":151645,"head_dim":128,"hidden_act":"silu","hidden_size":1024,"intermediate_size":3072,"max_position_embeddings":40960,
      "max_window_layers":28,"model_type":"qwen3","num_attention_heads":16,"num_hidden_layers":28,"num_key_value_heads":8,"rms_norm_eps":1e-06,
      "rope_scaling":null,"rope_theta":1000000,"sliding_window":null,"tie_word_embeddings":true,"use_sliding_window":false,"vocab_size":151936})",
     "Qwen3ForCausalLM", 1024, 28, 16, 8, 128, 3072, 0, 1000000, 1e-6, RopeType::kDefault, true, false},
    {"qwen3_8b_yarn", R"({"architectures":["Qwen3ForCausalLM"],"attention_bias":false,"bos_token_id":151643,"head_dim":128,
      "hidden_act":"silu","hidden_size":4096,"intermediate_size":12288,"max_position_embeddings":131072,"max_window_layers":36,"model_type":"qwen3",
      "num_attention_heads":32,"num_hidden_layers":36,"num_key_value_heads":8,"rms_norm_eps":1e-06,
      "rope_scaling":{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":32768},"rope_theta":1000000,"sliding_window":null,
      "tie_word_embeddings":false,"use_sliding_window":false,"vocab_size":151936})",
     "Qwen3ForCausalLM", 4096, 36, 32, 8, 128, 12288, 0, 1000000, 1e-6, RopeType::kYarn, false, false},
    {"smollm3_3b", R"({"architectures":["SmolLM3ForCausalLM"],"attention_bias":false,"attention_dropout":0.0,"bos_token_id":null,
      "eos_token_id":128012,"hidden_act":"silu","hidden_size":2048,"intermediate_size":11008,"max_position_embeddings":65536,
      "max_window_layers":28,"mlp_bias":false,"model_type":"smollm3","no_rope_layer_interval":4,
      "no_rope_layers":[1,1,1,0,1,1,1,0,1,1,1,0,1,1,1,0,1,1,1,0,1,1,1,0,1,1,1,0,1,1,1,0,1,1,1,0],"num_attention_heads":16,
      "num_hidden_layers":36,"num_key_value_heads":4,"pretraining_tp":2,"rms_norm_eps":1e-06,"rope_scaling":null,"rope_theta":5000000.0,
      "sliding_window":null,"use_sliding_window":false,"vocab_size":128256})",
     "SmolLM3ForCausalLM", 2048, 36, 16, 4, 128, 11008, 0, 5000000, 1e-6, RopeType::kDefault, true, false},
    {"granite_3_1_2b", R"({"architectures":["GraniteForCausalLM"],"attention_bias":false,"attention_dropout":0.1,
      "attention_multiplier":0.015625,"bos_token_id":0,"embedding_multiplier":12.0,"eos_token_id":0,"hidden_act":"silu","hidden_size":2048,
      "intermediate_size":8192,"logits_scaling":8.0,"max_position_embeddings":131072,"mlp_bias":false,"model_type":"granite",
      "num_attention_heads":32,"num_hidden_layers":40,"num_key_value_heads":8,"pad_token_id":0,"residual_multiplier":0.22,
      "rms_norm_eps":1e-05,"rope_scaling":null,"rope_theta":5000000.0,"tie_word_embeddings":true,"vocab_size":49155})",
     "GraniteForCausalLM", 2048, 40, 32, 8, 64, 8192, 0, 5000000, 1e-5, RopeType::kDefault, true, false},
    {"phi_3_mini_4k",
     R"({"architectures":["Phi3ForCausalLM"],"attention_dropout":0.0,"bos_token_id":1,"embd_pdrop":0.0,"eos_token_id":32000,
      "hidden_act":"silu","hidden_size":3072,"intermediate_size":8192,"max_position_embeddings":4096,"model_type":"phi3",
      "num_attention_heads":32,"num_hidden_layers":32,"num_key_value_heads":32,"original_max_position_embeddings":4096,"pad_token_id":32000,
      "resid_pdrop":0.0,"rms_norm_eps":1e-05,"rope_scaling":null,"rope_theta":10000.0,"sliding_window":2047,"tie_word_embeddings":false,
      "attention_bias":false,"vocab_size":32064})",
     "Phi3ForCausalLM", 3072, 32, 32, 32, 96, 8192, 2047, 10000, 1e-5, RopeType::kDefault, false, false},
    {"phi_4",
     R"({"architectures":["Phi3ForCausalLM"],"attention_bias":false,"bos_token_id":100257,"eos_token_id":100265,"hidden_act":"silu",
      "hidden_size":5120,"intermediate_size":17920,"max_position_embeddings":16384,"model_type":"phi3","num_attention_heads":40,
      "num_hidden_layers":40,"num_key_value_heads":10,"original_max_position_embeddings":16384,"rms_norm_eps":1e-05,"rope_scaling":null,
      "rope_theta":250000,"sliding_window":null,"tie_word_embeddings":false,"vocab_size":100352})",
     "Phi3ForCausalLM", 5120, 40, 40, 10, 128, 17920, 0, 250000, 1e-5, RopeType::kDefault, false, false},
    {"gemma_2b", R"({"architectures":["GemmaForCausalLM"],"attention_bias":false,"attention_dropout":0.0,"bos_token_id":2,"eos_token_id":1,
      "head_dim":256,"hidden_act":"gelu","hidden_activation":null,"hidden_size":2048,"initializer_range":0.02,"intermediate_size":16384,
      "max_position_embeddings":8192,"model_type":"gemma","num_attention_heads":8,"num_hidden_layers":18,"num_key_value_heads":1,
      "pad_token_id":0,"rms_norm_eps":1e-06,"rope_scaling":null,"rope_theta":10000.0,"torch_dtype":"bfloat16","use_cache":true,
      "vocab_size":256000})",
     "GemmaForCausalLM", 2048, 18, 8, 1, 256, 16384, 0, 10000, 1e-6, RopeType::kDefault, true, false},
    {"gemma_2_2b", R"({"architectures":["Gemma2ForCausalLM"],"attention_bias":false,"attention_dropout":0.0,"attn_logit_softcapping":50.0,
      "bos_token_id":2,"cache_implementation":"hybrid","eos_token_id":1,"final_logit_softcapping":30.0,"head_dim":256,
      "hidden_act":"gelu_pytorch_tanh","hidden_activation":"gelu_pytorch_tanh","hidden_size":2304,"initializer_range":0.02,
      "intermediate_size":9216,"max_position_embeddings":8192,"model_type":"gemma2","num_attention_heads":8,"num_hidden_layers":26,
      "num_key_value_heads":4,"pad_token_id":0,"query_pre_attn_scalar":256,"rms_norm_eps":1e-06,"rope_theta":10000.0,
      "sliding_window":4096,"torch_dtype":"float32","transformers_version":"4.42.4","use_cache":true,"vocab_size":256000})",
     "Gemma2ForCausalLM", 2304, 26, 8, 4, 256, 9216, 4096, 10000, 1e-6, RopeType::kDefault, true, false},
    {"gemma_3_1b", R"({"architectures":["Gemma3ForCausalLM"],"attention_bias":false,"attention_dropout":0.0,"attn_logit_softcapping":null,
      "bos_token_id":2,"cache_implementation":"hybrid","eos_token_id":[1,106],"final_logit_softcapping":null,"head_dim":256,
      "hidden_activation":"gelu_pytorch_tanh","hidden_size":1152,"intermediate_size":6912,"max_position_embeddings":32768,
      "model_type":"gemma3_text","num_attention_heads":4,"num_hidden_layers":26,"num_key_value_heads":1,"pad_token_id":0,
      "query_pre_attn_scalar":256,"rms_norm_eps":1e-06,"rope_local_base_freq":10000,"rope_scaling":null,"rope_theta":1000000,
      "sliding_window":512,"sliding_window_pattern":6,"vocab_size":262144})",
     "Gemma3ForCausalLM", 1152, 26, 4, 1, 256, 6912, 512, 1000000, 1e-6, RopeType::kDefault, true, false},
    {"olmo_2_7b", R"({"architectures":["Olmo2ForCausalLM"],"attention_bias":false,"attention_dropout":0.0,"eos_token_id":100257,
      "hidden_act":"silu","hidden_size":4096,"intermediate_size":11008,"max_position_embeddings":4096,"model_type":"olmo2",
      "num_attention_heads":32,"num_hidden_layers":32,"num_key_value_heads":32,"pad_token_id":100277,"rms_norm_eps":1e-06,
      "rope_scaling":null,"rope_theta":500000,"tie_word_embeddings":false,"vocab_size":100352})",
     "Olmo2ForCausalLM", 4096, 32, 32, 32, 128, 11008, 0, 500000, 1e-6, RopeType::kDefault, false, false},
};

TEST(PublishedConfigs, AreReadAsTheyAre) {
  for (const Published& p : kPublished) {
    SCOPED_TRACE(p.name);
    const ModelConfig c = parse_model_config(p.json);
    EXPECT_EQ(c.architecture, p.architecture);
    EXPECT_EQ(c.hidden_size, p.hidden);
    EXPECT_EQ(c.layer_count, p.layers);
    EXPECT_EQ(c.head_count, p.heads);
    EXPECT_EQ(c.kv_head_count, p.kv_heads);
    EXPECT_EQ(c.head_dim, p.head_dim);
    EXPECT_EQ(c.intermediate_size, p.intermediate);
    EXPECT_EQ(c.sliding_window, p.window);
    EXPECT_EQ(c.rope_theta, p.theta);
    EXPECT_EQ(c.rms_norm_eps, p.eps);
    EXPECT_EQ(c.rope_scaling.type, p.rope);
    EXPECT_EQ(c.tied_embeddings, p.tied);
    EXPECT_EQ(c.qkv_bias, p.bias);
    const bool gemma = c.architecture.starts_with("Gemma"), olmo = c.architecture == "Olmo2ForCausalLM";
    EXPECT_EQ(c.head_norms, c.architecture == "Qwen3ForCausalLM" || c.architecture == "Gemma3ForCausalLM" || olmo);
    EXPECT_EQ(c.whole_norms, olmo);
    EXPECT_EQ(c.pre_norms, !olmo);
    EXPECT_EQ(c.post_norms, (gemma && c.architecture != "GemmaForCausalLM") || olmo);
    EXPECT_EQ(c.norm_offset, gemma ? 1 : 0);
    EXPECT_EQ(c.activation, gemma ? Activation::kGeluTanh : Activation::kSilu);
    for (size_t l = 0; l < c.layers.size(); ++l) EXPECT_EQ(c.layers[l].rotary, c.architecture != "SmolLM3ForCausalLM" || l % 4 != 3);
  }
}

nlohmann::json published(const std::string& name) {
  const auto at = std::find_if(std::begin(kPublished), std::end(kPublished), [&](const Published& p) { return name == p.name; });
  return nlohmann::json::parse(at->json);
}

TEST(PublishedConfigs, GemmasLayersSlideAndTurnByTheirKind) {
  nlohmann::json config = published("gemma_3_1b");
  const auto check = [](const ModelConfig& c, int64_t pattern) {
    EXPECT_EQ(c.embedding_multiplier, std::sqrt(1152.0));
    EXPECT_EQ(c.score_scale, 1.0 / 16);
    EXPECT_EQ(c.local_rope_theta, 10000);
    for (size_t l = 0; l < c.layers.size(); ++l) EXPECT_EQ(c.window_of(c.layers[l]), static_cast<int64_t>(l + 1) % pattern != 0 ? 512 : 0);
  };
  check(parse_model_config(config.dump()), 6);
  // Newer files write it in this way.
  config.erase("sliding_window_pattern");
  config.erase("rope_theta");
  config.erase("rope_local_base_freq");
  for (int64_t l = 0; l < 26; ++l) config["layer_types"].push_back((l + 1) % 4 == 0 ? "full_attention" : "sliding_attention");
  config["rope_parameters"] = {{"full_attention", {{"rope_type", "linear"}, {"factor", 8.0}, {"rope_theta", 2e6}}},
                               {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 10000.0}}}};
  const ModelConfig newer = parse_model_config(config.dump());
  check(newer, 4);
  EXPECT_EQ(newer.rope_theta, 2e6);
  EXPECT_EQ(newer.rope_scaling.type, RopeType::kLinear);
  EXPECT_EQ(newer.rope_scaling.factor, 8);
  config["layer_types"].erase(config["layer_types"].begin());
  test::expect_error(ErrorCode::kModelCorrupt, "config.layer_types", "26 layers", [&] { parse_model_config(config.dump()); });
}

TEST(PublishedConfigs, Gemma2CapsItsScoresAndLogitsAndEverySecondLayerSlides) {
  nlohmann::json config = published("gemma_2_2b");
  const auto check = [](const ModelConfig& c, double score_cap, double logits_cap) {
    EXPECT_EQ(c.score_cap, score_cap);
    EXPECT_EQ(c.logits_cap, logits_cap);
    EXPECT_EQ(c.score_scale, 1.0 / 16);
    EXPECT_EQ(c.local_rope_theta, 0);
    for (size_t l = 0; l < c.layers.size(); ++l) EXPECT_EQ(c.window_of(c.layers[l]), l % 2 == 0 ? 4096 : 0);
  };
  check(parse_model_config(config.dump()), 50, 30);
  for (const char* key :
       {"attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar", "head_dim", "sliding_window", "num_key_value_heads"})
    config.erase(key);
  check(parse_model_config(config.dump()), 50, 30);
  config["attn_logit_softcapping"] = nullptr;
  config["final_logit_softcapping"] = 7.5;
  check(parse_model_config(config.dump()), 0, 7.5);
  config["final_logit_softcapping"] = -1;
  test::expect_error(ErrorCode::kModelCorrupt, "config.final_logit_softcapping", "number", [&] { parse_model_config(config.dump()); });
}

TEST(PublishedConfigs, GranitesMultipliersAreRead) {
  const ModelConfig c = parse_model_config(published("granite_3_1_2b").dump());
  EXPECT_EQ(c.embedding_multiplier, 12);
  EXPECT_EQ(c.score_scale, 0.015625);
  EXPECT_EQ(c.residual_multiplier, 0.22);
  EXPECT_EQ(c.logits_divisor, 8);
}

// Each change turns a published config into one that the engine must refuse, with the field that the refusal names.
TEST(PublishedConfigs, WhatIsNotSupportedIsRefusedByName) {
  using nlohmann::json;
  struct Refusal {
    json changes;
    const char *field, *message;
  };
  const Refusal refusals[] = {
      {{{"architectures", {"MixtralForCausalLM"}}}, "config.architectures", "MixtralForCausalLM"},
      {{{"architectures", {"Qwen2MoeForCausalLM"}}}, "config.architectures", "Qwen2MoeForCausalLM"},
      {{{"architectures", {"Qwen2VLForConditionalGeneration"}}}, "config.architectures", "supported are LlamaForCausalLM"},
      {{{"architectures", {"Gemma2ForCausalLM"}}, {"sliding_window_pattern", 2}},
       "config.sliding_window_pattern",
       "Gemma3ForCausalLM, not for Gemma2ForCausalLM"},
      {{{"architectures", {"Gemma2ForCausalLM"}}, {"logit_softcapping", 30.0}}, "config.logit_softcapping", "is set"},
      {{{"architectures", {"PhimoeForCausalLM"}}}, "config.architectures", "PhimoeForCausalLM"},
      {{{"architectures", {"Gemma3ForConditionalGeneration"}}}, "config.architectures", "Gemma3ForConditionalGeneration"},
      {{{"architectures", {"Phi3ForCausalLM"}}, {"rope_scaling", {{"type", "longrope"}, {"short_factor", {1.0}}}}},
       "config.rope_scaling.type",
       "longrope"},
      {{{"architectures", {"Phi3ForCausalLM"}}, {"partial_rotary_factor", 0.75}}, "config.partial_rotary_factor", "part of a head"},
      {{{"architectures", {"GemmaForCausalLM"}}, {"hidden_act", "silu"}}, "config.hidden_act", "gelu_pytorch_tanh"},
      {{{"architectures", {"Gemma3ForCausalLM"}}, {"hidden_act", "gelu"}, {"hidden_activation", "gelu"}},
       "config.hidden_activation",
       "gelu_pytorch_tanh"},
      {{{"architectures", {"Gemma3ForCausalLM"}}, {"use_bidirectional_attention", true}}, "config.use_bidirectional_attention", "is true"},
      {{{"architectures", {"Gemma3ForCausalLM"}}, {"final_logit_softcapping", 30.0}}, "config.final_logit_softcapping", "is set"},
      {{{"architectures", {"Qwen3MoeForCausalLM"}}}, "config.architectures", "Qwen3MoeForCausalLM"},
      {{{"no_rope_layers", {1, 0}}}, "config.no_rope_layers", "SmolLM3ForCausalLM, not for LlamaForCausalLM"},
      {{{"no_rope_layer_interval", 4}}, "config.no_rope_layer_interval", "SmolLM3ForCausalLM"},
      {{{"qk_norm", true}}, "config.qk_norm", "Qwen3ForCausalLM"},
      {{{"qkv_bias", true}}, "config.qkv_bias", "Qwen2ForCausalLM"},
      {{{"attn_logit_softcapping", 50.0}}, "config.attn_logit_softcapping", "is set"},
      {{{"final_logit_softcapping", 30.0}}, "config.final_logit_softcapping", "is set"},
      {{{"clip_qkv", 8}}, "config.clip_qkv", "is set"},
      {{{"attention_multiplier", 0.0078125}}, "config.attention_multiplier", "is set: supported for GraniteForCausalLM"},
      {{{"query_pre_attn_scalar", 256}}, "config.query_pre_attn_scalar", "is set"},
      {{{"attention_chunk_size", 8192}}, "config.attention_chunk_size", "is set"},
      {{{"embedding_multiplier", 12.0}}, "config.embedding_multiplier", "is not 1"},
      {{{"residual_multiplier", 0.22}}, "config.residual_multiplier", "is not 1"},
      {{{"logits_scaling", 8.0}}, "config.logits_scaling", "is not 1"},
      {{{"use_bias", true}}, "config.use_bias", "is true"},
      {{{"rope_parameters", {{"rope_type", "default"}, {"llama_4_scaling_beta", 0.1}}}},
       "config.rope_parameters.llama_4_scaling_beta",
       "scaled by their position"},
      {{{"architectures", {"SmolLM3ForCausalLM"}}, {"use_sliding_window", true}, {"sliding_window", 512}},
       "config.use_sliding_window",
       "only a part of the layers"},
      {{{"architectures", {"SmolLM3ForCausalLM"}}, {"layer_types", {"sliding_attention"}}}, "config.layer_types", "SmolLM3ForCausalLM"},
      {{{"architectures", {"Qwen3ForCausalLM"}}, {"attention_bias", true}}, "config.attention_bias", "o_proj"},
      {{{"num_local_experts", 8}, {"num_experts_per_tok", 2}}, "config.num_local_experts", "experts"},
      {{{"num_experts", 60}}, "config.num_experts", "experts"},
      {{{"n_routed_experts", 64}}, "config.n_routed_experts", "experts"},
      {{{"attention_bias", true}}, "config.attention_bias", "o_proj"},
      {{{"mlp_bias", true}}, "config.mlp_bias", "not supported"},
      {{{"use_qk_norm", true}}, "config.use_qk_norm", "Qwen3ForCausalLM"},
      {{{"qk_layernorm", true}}, "config.qk_layernorm", "Qwen3ForCausalLM"},
      {{{"use_mrope", true}}, "config.use_mrope", "mrope"},
      {{{"rope_interleaved", true}}, "config.rope_interleaved", "interleaved"},
      {{{"partial_rotary_factor", 0.25}}, "config.partial_rotary_factor", "part of a head"},
      {{{"rope_parameters", {{"rope_type", "default"}, {"partial_rotary_factor", 0.5}}}},
       "config.rope_parameters.partial_rotary_factor",
       "part of a head"},
      {{{"rope_scaling", {{"type", "mrope"}, {"mrope_section", {16, 24, 24}}}}}, "config.rope_scaling.mrope_section", "mrope"},
      {{{"rope_scaling", {{"rope_type", "default"}, {"mrope_section", {16, 24, 24}}}}}, "config.rope_scaling.mrope_section", "mrope"},
      {{{"rope_scaling", {{"rope_type", "longrope"}, {"factor", 4.0}}}}, "config.rope_scaling.rope_type", "default, linear, llama3, yarn"},
      {{{"rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}}}, "config.rope_scaling.type", "default, linear, llama3"},
      {{{"rope_scaling", {{"rope_type", "spiral"}}}}, "config.rope_scaling.rope_type", "spiral"},
      {{{"hidden_act", "gelu_pytorch_tanh"}}, "config.hidden_act", "silu"},
      {{{"quantization_config", {{"quant_method", "gptq"}}}}, "config.quantization_config", "quantized"},
  };
  for (const Refusal& r : refusals) {
    json config = json::parse(kPublished[2].json);
    config.erase("hidden_act");  // the absent field means each architecture's own
    for (const auto& [key, value] : r.changes.items()) config[key] = value;
    SCOPED_TRACE(r.changes.dump());
    test::expect_error(ErrorCode::kModelUnsupported, r.field, r.message, [&] { parse_model_config(config.dump()); });
  }
}

}  // namespace
}  // namespace espalier

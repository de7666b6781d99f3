// Makes a student with random LoRA and masks, and checks what an export of it has to keep.
#pragma once
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "espalier/export/export.h"
#include "reference_forward.h"
#include "test_files.h"

namespace espalier::test {

// Makes a mask of soft values, exact ones and exact zeros, like deterministic masks.
inline std::vector<float> some_mask(int64_t size, double closed_share, std::mt19937_64& random) {
  std::uniform_real_distribution<double> uniform(0, 1);
  std::vector<float> out;
  for (int64_t i = 0; i < size; ++i) {
    const double u = uniform(random);
    out.push_back(u < closed_share ? 0.0f : u < closed_share + 0.2 ? 1.0f : static_cast<float>(0.2 + 0.8 * uniform(random)));
  }
  return out;
}

struct Student {
  std::shared_ptr<const ModelWeights> model;
  TrainState state;
  Masks masks;

  Student(std::shared_ptr<const ModelWeights> base, uint64_t seed) : model(std::move(base)), state(model->config(), LoraSpec{}) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal(0, 0.1f);
    for (float& v : state.params().subspan(0, static_cast<size_t>(state.lora_size()))) v = normal(random);
    const ModelConfig& c = model->config();
    masks.head = some_mask(c.layer_count * c.head_count, 0.4, random);
    masks.intermediate = some_mask(c.layer_count * c.intermediate_size, 0.5, random);
    masks.hidden = some_mask(c.hidden_size, 0.25, random);
  }
};

inline std::vector<uint32_t> some_ids(const ModelConfig& config, size_t count) {
  std::vector<uint32_t> ids;
  for (size_t i = 0; i < count; ++i)
    ids.push_back(static_cast<uint32_t>((i * i * 31 + 7 * i + 1) % static_cast<size_t>(config.vocab_size)));
  return ids;
}

inline const std::atomic<bool> kNotCancelled{false};

inline ExportResult export_student(const Student& student, const ExportRequest& request) {
  return export_model(*student.model, &student.state, student.masks, request, nullptr, kNotCancelled);
}

inline std::shared_ptr<const ModelWeights> small_qwen() {
  const nlohmann::json config = {{"architectures", {"Qwen2ForCausalLM"}},
                                 {"hidden_size", 48},
                                 {"num_hidden_layers", 2},
                                 {"num_attention_heads", 6},
                                 {"num_key_value_heads", 3},
                                 {"intermediate_size", 40},
                                 {"vocab_size", 64},
                                 {"head_dim", 6},
                                 {"tie_word_embeddings", true}};
  return random_model(parse_model_config(config.dump()), DType::kF32, 3);
}

inline std::shared_ptr<const ModelWeights> small_mistral() {
  const nlohmann::json config = {{"architectures", {"MistralForCausalLM"}},
                                 {"hidden_size", 32},
                                 {"num_hidden_layers", 3},
                                 {"num_attention_heads", 4},
                                 {"num_key_value_heads", 4},
                                 {"intermediate_size", 40},
                                 {"vocab_size", 64},
                                 {"sliding_window", 5},
                                 {"rope_scaling", {{"type", "linear"}, {"factor", 2}}}};
  return random_model(parse_model_config(config.dump()), DType::kBF16, 4);
}

// Exports the student, loads the export and compares its likelihood with the student's.
inline ExportResult expect_same_likelihood(const Student& student, ExportRequest request, const std::string& source_folder,
                                           size_t tokens = 40) {
  const TempFolder folder;
  if (request.dtype == ExportDType::kAsSource) request.dtype = ExportDType::kF32;
  request.source_folder = source_folder;
  request.out_folder = (folder / "out").string();
  const ExportResult result = export_student(student, request);
  const auto loaded = load_model(request.out_folder);
  const auto ids = some_ids(student.model->config(), tokens);
  const double masked = ReferenceForward(*student.model, &student.state, student.masks).negative_log_likelihood(ids);
  const double exported = ReferenceForward(*loaded, nullptr, {}).negative_log_likelihood(ids);
  EXPECT_NEAR(masked, exported, 1e-6 * std::max(1.0, masked));
  const double intact = ReferenceForward(*student.model, nullptr, {}).negative_log_likelihood(ids);
  EXPECT_GT(std::fabs(masked - intact), 1e-3);  // checks that the masks change the likelihood, otherwise equality would prove nothing
  EXPECT_EQ(loaded->bytes(), result.parameter_count * 4);
  EXPECT_EQ(loaded->config().layers.size(), result.config.layers.size());
  return result;
}

inline ExportRequest safetensors(ExportForm form) {
  ExportRequest request;
  request.form = form;
  return request;
}

inline ExportRequest gguf(ExportForm form) {
  ExportRequest request = safetensors(form);
  request.container = ExportContainer::kGguf;
  return request;
}

}  // namespace espalier::test

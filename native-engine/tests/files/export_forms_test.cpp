// An export in any container and form has the student's likelihood, whatever the masks leave open. Where a container cannot hold a student,
// the export is refused.
#include <cstring>

#include "export/export_plan.h"
#include "export/export_size.h"
#include "export_student.h"
#include "files/gguf_file.h"
#include "files/mapped_file.h"
#include "model/architecture.h"
#include "small_models.h"

namespace espalier {
namespace {

using nlohmann::json;
using namespace test;

struct Container {
  ExportContainer container;
  ExportForm form;
};

const std::vector<Container> kSmaller = {{ExportContainer::kSafetensors, ExportForm::kPadded},
                                         {ExportContainer::kSafetensors, ExportForm::kBlocks},
                                         {ExportContainer::kGguf, ExportForm::kMasked},
                                         {ExportContainer::kGguf, ExportForm::kPadded},
                                         {ExportContainer::kGguf, ExportForm::kCompacted}};

ExportRequest request_for(const Container& which, int64_t multiple_of = 1) {
  ExportRequest request;
  request.container = which.container;
  request.form = which.form;
  request.multiple_of = multiple_of;
  return request;
}

// Multiplies one tensor of a file whose numbers are F32 by a factor.
void scale_tensor(const std::string& path, const std::string& name, float factor) {
  std::string bytes = test::read_file(path);
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  const auto offsets = json::parse(bytes.substr(8, length)).at(name).at("data_offsets");
  for (uint64_t at = 8 + length + offsets[0].get<uint64_t>(); at < 8 + length + offsets[1].get<uint64_t>(); at += sizeof(float)) {
    float value = 0;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    value *= factor;
    std::memcpy(bytes.data() + at, &value, sizeof value);
  }
  test::write_file(path, bytes);
}

void close_layer(Student& student, int64_t layer, bool heads, bool units) {
  const ModelConfig& c = student.model->config();
  if (heads) std::fill_n(student.masks.head.begin() + layer * c.head_count, c.head_count, 0.0f);
  if (units) std::fill_n(student.masks.intermediate.begin() + layer * c.intermediate_size, c.intermediate_size, 0.0f);
}

TEST(ExportForms, EachGivesTheStudentsLikelihood) {
  for (const Container& which : kSmaller) {
    for (const int64_t multiple_of : {1, 16}) {
      expect_same_likelihood({load_model(test::tiny_model()), 31}, request_for(which, multiple_of), test::tiny_model());
      expect_same_likelihood({small_qwen(), 32}, request_for(which, multiple_of), "");
      // DeciLM and llama.cpp's llama have no window, so the export's context ends with the window.
      const auto result =
          expect_same_likelihood({small_mistral(), 33}, request_for(which, multiple_of), "",
                                 which.form == ExportForm::kPadded && which.container == ExportContainer::kSafetensors ? 40 : 5);
      EXPECT_EQ(result.config.tied_embeddings, false);
    }
  }
}

// Returns true where the container can hold the model, and false where it is refused with the right error.
bool holds(const ModelConfig& config, const Container& which) {
  try {
    check_export(config, which.container, which.form, ExportDType::kF32);
    return true;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kNotSupported);
    EXPECT_NE(std::string(e.what()).find("choose"), std::string::npos) << e.what();
    return false;
  }
}

TEST(ExportForms, NoMultipleMakesAnExportLargerThanTheIntactModel) {
  for (const SmallKind& kind : small_kinds()) {
    const auto model = small_model(kind.config);
    const uint64_t intact = export_size(*model, {}, {}).parameters;
    Student student(model, 61);
    for (const Container& which : kSmaller) {
      for (const int64_t multiple_of : {32, 64, 256}) {
        if (!holds(model->config(), which)) continue;
        EXPECT_LE(export_size(*model, student.masks, request_for(which, multiple_of)).parameters, intact) << kind.name << multiple_of;
      }
    }
  }
}

const std::vector<Container> kAll = {
    {ExportContainer::kSafetensors, ExportForm::kMasked}, {ExportContainer::kSafetensors, ExportForm::kCompacted},
    {ExportContainer::kSafetensors, ExportForm::kPadded}, {ExportContainer::kSafetensors, ExportForm::kBlocks},
    {ExportContainer::kGguf, ExportForm::kMasked},        {ExportContainer::kGguf, ExportForm::kPadded},
    {ExportContainer::kGguf, ExportForm::kCompacted}};

TEST(ExportForms, EveryKindOfModelInEveryFormThatHoldsIt) {
  for (const SmallKind& kind : small_kinds()) {
    int held = 0;
    for (const Container& which : kAll) {
      const auto model = small_model(kind.config);
      if (!holds(model->config(), which)) continue;
      SCOPED_TRACE(kind.name + std::string(" ") + std::to_string(&which - kAll.data()));
      held++;
      Student student(model, 61);
      // DeciLM and llama.cpp's llama have no window, so the export's context ends with the window.
      const int64_t window = model->config().sliding_window;
      const bool ends = window > 0 && (which.container == ExportContainer::kGguf || which.form == ExportForm::kBlocks);
      const size_t tokens = ends ? static_cast<size_t>(window) : 40;
      expect_same_likelihood(student, request_for(which), "", tokens);
      close_layer(student, 1, true, true);  // forms that may drop layers drop this one
      close_layer(student, 2, true, false);
      expect_same_likelihood(student, request_for(which, 16), "", tokens);
    }
    const ModelConfig config = parse_small(kind.config);
    EXPECT_EQ(held, config.local_rope_theta != 0 ? 3 : !architecture_of(config).gguf_uneven ? 5 : 7) << kind.name;
  }
}

TEST(ExportForms, AGemma2WhoseLayersAreClosedInGguf) {
  const auto model = small_model({{"architectures", {"Gemma2ForCausalLM"}},
                                  {"num_key_value_heads", 3},
                                  {"sliding_window", 5},
                                  {"query_pre_attn_scalar", 9},
                                  {"attn_logit_softcapping", 2.0},
                                  {"final_logit_softcapping", 3.0}});
  Student student(model, 62);
  close_layer(student, 2, true, true);  // the layer stays in its place, since later layers are found by their numbers
  EXPECT_EQ(expect_same_likelihood(student, gguf(ExportForm::kPadded), "").config.layers.size(), 4u);
  EXPECT_EQ(expect_same_likelihood(student, safetensors(ExportForm::kPadded), "").config.layers.size(), 3u);
}

// This kind has its window in other layers than llama.cpp expects.
TEST(ExportForms, AGemmaInGguf) {
  const json config = {
      {"architectures", {"Gemma3ForCausalLM"}}, {"num_hidden_layers", 7}, {"sliding_window", 5}, {"query_pre_attn_scalar", 9}};
  Student student(small_model(config), 62);
  for (const ExportForm form : {ExportForm::kMasked, ExportForm::kPadded}) expect_same_likelihood(student, gguf(form), "");
  close_layer(student, 5, true, true);  // the layer stays in its place, since later layers are found by their numbers
  EXPECT_EQ(expect_same_likelihood(student, gguf(ExportForm::kPadded), "").config.layers.size(), 7u);
  EXPECT_EQ(expect_same_likelihood(student, safetensors(ExportForm::kPadded), "").config.layers.size(), 6u);
}

TEST(ExportForms, WhatAnArchitectureOfAnotherProgramLacksIsRefused) {
  const auto refused = [](const json& config, const Container& which, const char* field, const char* message) {
    expect_error(ErrorCode::kNotSupported, field, message,
                 [&] { check_export(parse_small(config), which.container, which.form, ExportDType::kF32); });
  };
  const Container blocks = kAll[3], gguf_padded = kAll[5], gguf_compacted = kAll[6];
  json qwen = {{"architectures", {"Qwen3ForCausalLM"}}}, smol = {{"architectures", {"SmolLM3ForCausalLM"}}};
  refused(qwen, gguf_compacted, "form", "qwen3 has one width for all layers: choose padded");
  refused(smol, gguf_compacted, "form", "smollm3 has one width for all layers: choose padded");
  refused(qwen, blocks, "format", "no norms of query and key heads");
  refused(smol, blocks, "format", "no layers without rotary embedding");
  smol["no_rope_layers"] = {1, 0, 1, 0};
  refused(smol, gguf_padded, "format", "layer 1 of the model differs");
  json yarn = {{"rope_type", "yarn"}, {"factor", 4.0}, {"beta_fast", 16}};
  refused({{"architectures", {"LlamaForCausalLM"}}, {"rope_scaling", yarn}}, gguf_padded, "format", "beta_fast 32");
  yarn.erase("beta_fast");
  yarn["attention_factor"] = 1.0;
  refused({{"architectures", {"LlamaForCausalLM"}}, {"rope_scaling", yarn}}, blocks, "format", "attention factor");
  const json gemma = {{"architectures", {"Gemma3ForCausalLM"}}, {"sliding_window_pattern", 6}};
  refused(gemma, gguf_compacted, "form", "gemma3 has one width for all layers: choose padded");
  refused(gemma, blocks, "format", "no norms behind attention and MLP");
  json other = gemma;
  other["sliding_window_pattern"] = 2;
  refused(other, gguf_padded, "format", "layer 1 of the model differs");
  json first = {{"architectures", {"GemmaForCausalLM"}}};
  refused(first, blocks, "format", "no GELU");
  first["tie_word_embeddings"] = false;
  refused(first, gguf_padded, "format", "no lm_head beside its embeddings");
  json capless = {{"architectures", {"Gemma2ForCausalLM"}}, {"attn_logit_softcapping", nullptr}};
  refused(capless, gguf_padded, "format", "always caps scores and logits");
  capless["layer_types"] = {"sliding_attention", "sliding_attention", "sliding_attention", "full_attention"};
  refused(capless, gguf_padded, "format", "layer 1 of the model differs");
  other = gemma;
  other["rope_local_base_freq"] = 500.0;
  refused(other, gguf_padded, "format", "rope_local_base_freq 10000");
  json olmo = {{"architectures", {"Olmo2ForCausalLM"}}, {"num_key_value_heads", 6}};
  refused(olmo, blocks, "format", "no norms behind attention and MLP");
  Student student(small_model(olmo), 9);
  expect_error(ErrorCode::kNotSupported, "format", "together as wide as the hidden size",
               [&] { plan_export(student.model->config(), student.masks, gguf(ExportForm::kMasked)); });
  // Three query heads read each key head. For groups of 3, 1, 1 and 1 open heads, six groups of one head take the least memory.
  olmo.update({{"num_attention_heads", 12}, {"num_key_value_heads", 4}, {"head_dim", 4}});
  student = Student(small_model(olmo), 9);
  for (size_t h = 0; h < student.masks.head.size(); ++h) student.masks.head[h] = h % 12 < 3 || h % 3 == 0 ? 1.0f : 0.0f;
  expect_error(ErrorCode::kNotSupported, "form", "would hold a key head twice",
               [&] { plan_export(student.model->config(), student.masks, safetensors(ExportForm::kPadded)); });
  qwen["rope_scaling"] = {{"rope_type", "llama3"},
                          {"factor", 8.0},
                          {"low_freq_factor", 1.0},
                          {"high_freq_factor", 4.0},
                          {"original_max_position_embeddings", 64}};
  refused(qwen, gguf_padded, "format", "llama3 rope scaling");
}

TEST(ExportForms, LayersWithoutHeadsOrUnits) {
  for (const Container& which : kSmaller) {
    Student student(load_model(test::tiny_model()), 34);
    close_layer(student, 0, true, false);
    close_layer(student, 1, false, true);
    close_layer(student, 2, true, true);
    const ExportResult result = expect_same_likelihood(student, request_for(which), test::tiny_model());
    EXPECT_EQ(result.config.layer_count, which.form == ExportForm::kMasked ? 3 : 2);
    EXPECT_GE(result.config.layers[0].heads, 1);  // every loader but ours needs a head in the first layer
  }
}

TEST(ExportForms, TheFirstLayerMayBeTheEmptyOne) {
  for (const Container& which : kSmaller) {
    Student student(load_model(test::tiny_model()), 35);
    close_layer(student, 0, true, true);
    close_layer(student, 1, true, false);
    expect_same_likelihood(student, request_for(which), test::tiny_model());
  }
}

TEST(ExportForms, EverythingClosedStillLoads) {
  for (const Container& which : kSmaller) {
    Student student(load_model(test::tiny_model()), 36);
    for (auto* mask : {&student.masks.head, &student.masks.intermediate, &student.masks.hidden})
      std::fill(mask->begin(), mask->end(), 0.0f);
    expect_same_likelihood(student, request_for(which), test::tiny_model());
  }
}

TEST(ExportForms, TransformersGetsAHiddenSizeThatItsHeadsDivide) {
  for (const ExportForm form : {ExportForm::kPadded, ExportForm::kBlocks}) {
    for (uint64_t seed = 40; seed < 46; ++seed) {
      const ExportResult result = expect_same_likelihood({load_model(test::tiny_model()), seed}, safetensors(form), test::tiny_model());
      EXPECT_EQ(result.config.hidden_size % result.config.layers[0].heads, 0);
      EXPECT_LE(result.config.hidden_size, 64);
    }
  }
}

TEST(ExportForms, WidthsAreMultiplesUpToTheSources) {
  const ExportResult padded =
      expect_same_likelihood({load_model(test::factbook_model()), 37}, request_for(kSmaller[0], 32), test::factbook_model());
  EXPECT_EQ(padded.config.hidden_size % 32, 0);
  EXPECT_EQ(padded.config.layers[0].intermediate % 32, 0);
  const ExportResult wide =
      expect_same_likelihood({load_model(test::tiny_model()), 38}, request_for(kSmaller[4], 1024), test::tiny_model());
  EXPECT_EQ(wide.config.hidden_size, 64);
  EXPECT_EQ(wide.config.layers[0].intermediate, 160);
}

TEST(ExportForms, GroupsOfQueryHeadsStayWhole) {
  Student student(load_model(test::tiny_model()), 39);
  const ModelConfig& c = student.model->config();
  // Layer 0 keeps heads 1, 6 and 7 (of groups 0, 1, 1), layer 1 heads 0 to 3 (group 0), layer 2 none.
  for (int64_t h = 0; h < c.head_count; ++h) {
    student.masks.head[static_cast<size_t>(h)] = h == 1 || h >= 6 ? 0.5f : 0.0f;
    student.masks.head[static_cast<size_t>(c.head_count + h)] = h < 4 ? 1.0f : 0.0f;
    student.masks.head[static_cast<size_t>(2 * c.head_count + h)] = 0.0f;
  }
  const ExportResult result = expect_same_likelihood(student, gguf(ExportForm::kCompacted), test::tiny_model());
  EXPECT_EQ(result.architecture, "deci");
  // A fourth head, of zeros, costs as much as a third copy of keys and values, and leaves fewer copies.
  EXPECT_EQ(result.config.layers[0].heads, 4);
  EXPECT_EQ(result.config.layers[0].kv_heads, 2);
  EXPECT_EQ(result.config.layers[1].heads, 4);
  EXPECT_EQ(result.config.layers[1].kv_heads, 1);
  EXPECT_EQ(result.config.layers[2].heads, 0);
}

TEST(ExportForms, BlocksNameWhatIsMissing) {
  const TempFolder folder;
  Student student(load_model(test::tiny_model()), 47);
  close_layer(student, 1, true, false);
  close_layer(student, 2, false, true);
  ExportRequest request = safetensors(ExportForm::kBlocks);
  request.source_folder = test::tiny_model();
  request.out_folder = (folder / "out").string();
  EXPECT_EQ(export_student(student, request).architecture, "DeciLMForCausalLM");
  const json config = json::parse(test::read_file(folder / "out/config.json"));
  EXPECT_EQ(config["model_type"], "nemotron-nas");
  EXPECT_EQ(config["auto_map"]["AutoConfig"], "configuration_decilm.DeciLMConfig");
  const auto& blocks = config["block_configs"];
  EXPECT_FALSE(blocks[0]["attention"]["no_op"]);
  EXPECT_EQ(blocks[0]["attention"]["n_heads_in_group"],
            config["num_attention_heads"].get<int>() / config["num_key_value_heads"].get<int>());
  EXPECT_TRUE(blocks[1]["attention"]["no_op"]);
  EXPECT_TRUE(blocks[2]["ffn"]["no_op"]);
  // vLLM refuses a tensor that none of its modules has.
  const std::string weights = test::read_file(folder / "out/model.safetensors");
  EXPECT_EQ(weights.find("model.layers.1.input_layernorm"), std::string::npos);
  EXPECT_EQ(weights.find("model.layers.2.post_attention_layernorm"), std::string::npos);
  EXPECT_NE(weights.find("model.layers.1.post_attention_layernorm"), std::string::npos);
}

TEST(ExportForms, GgufStoresTheTypeAskedFor) {
  const Student student(load_model(test::factbook_model()), 48);
  const auto ids = some_ids(student.model->config(), 40);
  const double masked = ReferenceForward(*student.model, &student.state, student.masks).negative_log_likelihood(ids);
  const std::vector<std::pair<ExportDType, double>> bounds = {
      {ExportDType::kF32, 1e-6}, {ExportDType::kF16, 1e-3}, {ExportDType::kBF16, 2e-2}, {ExportDType::kQ8_0, 2e-2}};
  const std::vector<StoredType> types = {StoredType::kF32, StoredType::kF16, StoredType::kBF16, StoredType::kQ8_0};
  for (size_t i = 0; i < bounds.size(); ++i) {
    const TempFolder folder;
    ExportRequest request = gguf(ExportForm::kCompacted);
    request.dtype = bounds[i].first;
    request.multiple_of = 32;
    request.source_folder = test::factbook_model();
    request.out_folder = (folder / "out").string();
    const ExportResult result = export_student(student, request);
    EXPECT_TRUE(
        std::none_of(result.notes.begin(), result.notes.end(), [](const auto& n) { return n.find("as F16") != std::string::npos; }));
    EXPECT_NEAR(ReferenceForward(*load_model(request.out_folder), nullptr, {}).negative_log_likelihood(ids), masked, bounds[i].second);
    const MappedFile file((folder / "out/model.gguf").string(), ErrorCode::kModelNotFound, "model.gguf");
    const GgufFile parsed = parse_gguf(file.bytes(), "model.gguf");
    EXPECT_EQ(parsed.tensors.at("blk.0.ffn_down.weight").type, types[i]);
    EXPECT_EQ(parsed.tensors.at("blk.0.attn_norm.weight").type, StoredType::kF32);
  }
}

TEST(ExportForms, ATensorThatATypeWouldMakeZerosOfIsRefused) {
  const TempFolder folder;
  Student student(load_model(test::factbook_model()), 53);
  // The same model as before, but the values of one projection are far below what f16 can hold. A scale of q8_0 can't hold them either.
  const std::string source = (folder / "source").string();
  ExportRequest request = safetensors(ExportForm::kMasked);
  request.dtype = ExportDType::kF32;
  request.source_folder = test::factbook_model();
  request.out_folder = source;
  export_model(*student.model, nullptr, {}, request, nullptr, kNotCancelled);
  scale_tensor(source + "/model.safetensors", "model.layers.1.mlp.up_proj.weight", 1e-9f);
  student.model = load_model(source);
  for (float& v : student.state.params()) v = 0;
  request = gguf(ExportForm::kCompacted);
  request.source_folder = source;
  request.out_folder = (folder / "out").string();
  for (const auto& [dtype, name] : {std::pair{ExportDType::kQ8_0, "q8_0"}, std::pair{ExportDType::kF16, "f16"}}) {
    request.dtype = dtype;
    request.multiple_of = 32;
    expect_error(ErrorCode::kInvalidArgument, "dtype", std::string("too small for ") + name + ": rounding would change it by 100%",
                 [&] { export_student(student, request); });
    EXPECT_FALSE(std::filesystem::exists(folder / "out"));
  }
  for (const ExportDType dtype : {ExportDType::kBF16, ExportDType::kF32}) {
    request.dtype = dtype;
    request.out_folder = (folder / ("wide" + std::to_string(static_cast<int>(dtype)))).string();
    export_student(student, request);
  }
}

TEST(ExportForms, RowsThatAreNoBlocksOfQ8AreF16) {
  const TempFolder folder;
  ExportRequest request = gguf(ExportForm::kCompacted);
  request.dtype = ExportDType::kQ8_0;
  request.source_folder = test::tiny_model();
  request.out_folder = (folder / "out").string();
  const ExportResult result = export_student({load_model(test::tiny_model()), 49}, request);
  EXPECT_TRUE(std::any_of(result.notes.begin(), result.notes.end(), [](const auto& n) { return n.find("Stored as F16") == 0; }));
}

TEST(ExportForms, ACompactedFolderBecomesAnyOther) {
  const TempFolder folder;
  const Student student(load_model(test::tiny_model()), 50);
  ExportRequest request = safetensors(ExportForm::kCompacted);
  request.dtype = ExportDType::kF32;
  request.source_folder = test::tiny_model();
  request.out_folder = (folder / "compacted").string();
  export_student(student, request);
  const auto compacted = load_model(request.out_folder);
  const auto ids = some_ids(student.model->config(), 40);
  const double expected = ReferenceForward(*compacted, nullptr, {}).negative_log_likelihood(ids);
  request.source_folder = request.out_folder;
  for (const Container& which : kSmaller) {
    if (which.form == ExportForm::kMasked) continue;
    request.container = which.container;
    request.form = which.form;
    request.out_folder = (folder / ("again" + std::to_string(&which - kSmaller.data()))).string();
    export_model(*compacted, nullptr, {}, request, nullptr, kNotCancelled);
    EXPECT_NEAR(ReferenceForward(*load_model(request.out_folder), nullptr, {}).negative_log_likelihood(ids), expected, 1e-6);
  }
}

TEST(ExportForms, RefusesWhatTheContainerCannotHold) {
  const TempFolder folder;
  const Student student(load_model(test::tiny_model()), 51);
  ExportRequest request = gguf(ExportForm::kBlocks);
  request.out_folder = (folder / "out").string();
  const auto refused = [&](ErrorCode code, const std::string& field, const std::string& message) {
    expect_error(code, field, message, [&] { export_student(student, request); });
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  };
  refused(ErrorCode::kNotSupported, "form", "no place in a GGUF file");
  request = safetensors(ExportForm::kPadded);
  request.out_folder = (folder / "out").string();
  request.dtype = ExportDType::kQ8_0;
  refused(ErrorCode::kNotSupported, "dtype", "a type of GGUF files");
  request.dtype = ExportDType::kF32;
  for (const int64_t multiple_of : {0, -1, 1025}) {
    request.multiple_of = multiple_of;
    refused(ErrorCode::kInvalidArgument, "multiple_of", "from 1 to 1024");
  }
}

TEST(ExportForms, ADamagedGgufIsRefused) {
  const TempFolder folder;
  const Student student(load_model(test::tiny_model()), 52);
  ExportRequest request = gguf(ExportForm::kCompacted);
  request.dtype = ExportDType::kF32;
  request.out_folder = (folder / "out").string();
  export_student(student, request);
  const fs::path path = folder / "out/model.gguf";
  const std::string whole = test::read_file(path);
  const auto refused = [&](const std::string& bytes, ErrorCode code, const std::string& message) {
    test::write_file(path, bytes);
    expect_error(code, "model.gguf", message, [&] { load_model(request.out_folder); });
  };
  refused(whole.substr(0, 3), ErrorCode::kModelCorrupt, "does not begin with GGUF");
  refused(whole.substr(0, 300), ErrorCode::kModelCorrupt, "ends too early");
  refused(whole.substr(0, whole.size() - 64), ErrorCode::kModelCorrupt, "beyond the end of the file");
  std::string other = whole;
  other[4] = 9;
  refused(other, ErrorCode::kModelUnsupported, "GGUF version 9");
}

}  // namespace
}  // namespace espalier

// Each exported folder is loaded again and must compute the same as the masked student.
#include <csignal>
#include <cstring>

#include <sys/wait.h>

#include "espalier/base/dtypes.h"
#include "espalier/evaluation/evaluate.h"
#include "export_student.h"
#include "files/number_formats.h"
#include "files/safetensors.h"
#include "files/sha256.h"
#include "model/weights_digest.h"

namespace espalier {
namespace {

using nlohmann::json;
using namespace test;

TEST(Export, MaskedGivesTheStudentsLikelihood) {
  expect_same_likelihood({load_model(test::tiny_model()), 1}, safetensors(ExportForm::kMasked), test::tiny_model());
  expect_same_likelihood({small_qwen(), 2}, safetensors(ExportForm::kMasked), "");
  expect_same_likelihood({small_mistral(), 3}, safetensors(ExportForm::kMasked), "");
}

TEST(Export, CompactedGivesTheStudentsLikelihood) {
  expect_same_likelihood({load_model(test::tiny_model()), 4}, safetensors(ExportForm::kCompacted), test::tiny_model());
  expect_same_likelihood({small_qwen(), 5}, safetensors(ExportForm::kCompacted), "");
  expect_same_likelihood({small_mistral(), 6}, safetensors(ExportForm::kCompacted), "");
}

// The hidden mask scales the embedding, and lm_head is the same matrix, so the last norm must undo the scale.
TEST(Export, TiedStaysTied) {
  for (const auto& model : {load_model(test::tiny_model()), small_qwen()}) {
    Student student(model, 16);
    student.masks.hidden[1] = 1e-6f;
    const auto ids = some_ids(model->config(), 30);
    const test::Rows masked = ReferenceForward(*model, &student.state, student.masks).logits(ids);
    for (const ExportForm form : {ExportForm::kMasked, ExportForm::kCompacted}) {
      const TempFolder folder;
      ExportRequest request;
      request.form = form;
      request.dtype = ExportDType::kF32;
      request.out_folder = (folder / "out").string();
      const ExportResult result = export_student(student, request);
      EXPECT_TRUE(result.config.tied_embeddings);
      EXPECT_TRUE(json::parse(test::read_file(folder / "out/config.json"))["tie_word_embeddings"]);
      const std::string file = test::read_file(folder / "out/model.safetensors");
      const auto tensors =
          parse_safetensors({reinterpret_cast<const uint8_t*>(file.data()), file.size()}, ErrorCode::kModelCorrupt, "out").tensors;
      EXPECT_FALSE(tensors.contains("lm_head.weight"));
      if (form == ExportForm::kMasked) {
        EXPECT_EQ(result.parameter_count * 4, weights_bytes(*model) * (model->embedding().dtype == DType::kF32 ? 1 : 2));
      }
      const test::Rows exported = ReferenceForward(*load_model(request.out_folder), nullptr, {}).logits(ids);
      for (size_t t = 0; t < ids.size(); ++t) {
        for (size_t v = 0; v < masked[t].size(); ++v) ASSERT_NEAR(masked[t][v], exported[t][v], 1e-5) << "token " << t;
      }
    }
  }
}

// Loaders cast all tensors to the dtype of config.json. A norm that is too large for this dtype would become infinity.
TEST(Export, TiedInF16HasNoNormThatItsLoaderCannotHold) {
  const TempFolder folder;
  Student student(load_model(test::tiny_model()), 17);
  student.masks.hidden[1] = 1e-7f;
  ExportRequest request;
  request.dtype = ExportDType::kF16;
  request.out_folder = (folder / "out").string();
  export_student(student, request);
  const auto loaded = load_model(request.out_folder);
  EXPECT_EQ(loaded->final_norm().dtype, DType::kF32);
  EXPECT_EQ(std::fabs(decode(loaded->final_norm().data, DType::kF32, 1)), 65504.0f);
  const auto ids = some_ids(student.model->config(), 40);
  EXPECT_NEAR(ReferenceForward(*student.model, &student.state, student.masks).negative_log_likelihood(ids),
              ReferenceForward(*loaded, nullptr, {}).negative_log_likelihood(ids), 2e-3);
}

TEST(Export, LayersWithoutHeadsOrUnits) {
  Student student(load_model(test::tiny_model()), 7);
  const ModelConfig& c = student.model->config();
  std::fill_n(student.masks.head.begin(), c.head_count, 0.0f);                                       // layer 0: no attention
  std::fill_n(student.masks.intermediate.begin() + c.intermediate_size, c.intermediate_size, 0.0f);  // layer 1: no MLP
  std::fill_n(student.masks.head.begin() + 2 * c.head_count, c.head_count, 0.0f);                    // layer 2: neither
  std::fill_n(student.masks.intermediate.begin() + 2 * c.intermediate_size, c.intermediate_size, 0.0f);
  expect_same_likelihood(student, safetensors(ExportForm::kMasked), test::tiny_model());
  expect_same_likelihood(student, safetensors(ExportForm::kCompacted), test::tiny_model());
}

TEST(Export, EverythingClosedStillLoads) {
  Student student(load_model(test::tiny_model()), 8);
  for (auto* mask : {&student.masks.head, &student.masks.intermediate, &student.masks.hidden}) std::fill(mask->begin(), mask->end(), 0.0f);
  expect_same_likelihood(student, safetensors(ExportForm::kMasked), test::tiny_model());
  expect_same_likelihood(student, safetensors(ExportForm::kCompacted), test::tiny_model());
}

TEST(Export, NothingMaskedGivesTheSameBits) {
  const TempFolder folder;
  const auto model = load_model(test::tiny_model());
  for (const ExportForm form : {ExportForm::kMasked, ExportForm::kCompacted}) {
    ExportRequest request;
    request.form = form;
    request.source_folder = test::tiny_model();
    request.out_folder = (folder / std::to_string(static_cast<int>(form))).string();
    export_model(*model, nullptr, {}, request, nullptr, kNotCancelled);
    const auto loaded = load_model(request.out_folder);
    EXPECT_EQ(loaded->digest(), model->digest());
    EXPECT_TRUE(loaded->config().tied_embeddings);
  }
}

TEST(Export, CompactedWidthsAndConfig) {
  const TempFolder folder;
  Student student(load_model(test::tiny_model()), 9);
  const ModelConfig& c = student.model->config();
  // Layer 0 keeps query heads 1, 6 and 7 (of groups 0, 1, 1), layer 1 only heads 4 and 5 (group 1).
  for (int64_t h = 0; h < c.head_count; ++h) {
    student.masks.head[static_cast<size_t>(h)] = h == 1 || h >= 6 ? 0.5f : 0.0f;
    student.masks.head[static_cast<size_t>(c.head_count + h)] = h == 4 || h == 5 ? 1.0f : 0.0f;
  }
  ExportRequest request;
  request.form = ExportForm::kCompacted;
  request.source_folder = test::tiny_model();
  request.out_folder = (folder / "out").string();
  const ExportResult result = export_student(student, request);
  const auto loaded = load_model(request.out_folder);
  const ModelConfig& p = loaded->config();
  EXPECT_EQ(p.layers[0].heads, 3);
  EXPECT_EQ(p.layers[0].kv_heads, 2);
  EXPECT_EQ(p.layers[0].kv_head_of_query, (std::vector<int32_t>{0, 1, 1}));
  EXPECT_EQ(p.layers[1].kv_heads, 1);
  EXPECT_EQ(p.layers[1].kv_head_of_query, (std::vector<int32_t>{0, 0}));
  const auto open = std::count_if(student.masks.hidden.begin(), student.masks.hidden.end(), [](float z) { return z != 0; });
  EXPECT_EQ(p.hidden_size, open);
  EXPECT_NEAR(p.rms_norm_eps, c.rms_norm_eps * 64.0 / static_cast<double>(open), 1e-18);
  EXPECT_EQ(p.head_count, c.head_count);
  EXPECT_TRUE(p.tied_embeddings);
  EXPECT_EQ(result.config.hidden_size, open);
  const json config = json::parse(test::read_file(folder / "out/config.json"));
  EXPECT_EQ(config["architectures"][0], "EspalierCompactedForCausalLM");  // stock loaders refuse it by this name
  EXPECT_FALSE(config.contains("num_attention_heads"));
  EXPECT_LT(result.parameter_count, 254400u);
  EXPECT_NE(test::read_file(folder / "out/README.md").find("trust_remote_code=True"), std::string::npos);
  EXPECT_EQ(config["auto_map"]["AutoModelForCausalLM"], "modeling_espalier.EspalierCompactedForCausalLM");
  EXPECT_NE(test::read_file(folder / "out/modeling_espalier.py").find("class EspalierCompactedForCausalLM"), std::string::npos);

  // The export stays the same when it is exported again without masks.
  ExportRequest again = request;
  again.source_folder = request.out_folder;
  again.out_folder = (folder / "again").string();
  export_model(*loaded, nullptr, {}, again, nullptr, kNotCancelled);
  EXPECT_EQ(load_model(again.out_folder)->digest(), loaded->digest());
  EXPECT_EQ(test::read_file(folder / "again/config.json"), test::read_file(folder / "out/config.json"));
  expect_error(ErrorCode::kNotSupported, "masks", "compacted already",
               [&] { export_model(*loaded, nullptr, student.masks, again, nullptr, kNotCancelled); });
}

TEST(Export, PaddedIsAPlainLlama) {
  const TempFolder folder;
  Student student(load_model(test::factbook_model()), 10);
  const ModelConfig& c = student.model->config();
  for (int64_t l = 0; l < c.layer_count; ++l) {
    for (int64_t h = 0; h < c.head_count; ++h)
      student.masks.head[static_cast<size_t>(l * c.head_count + h)] = (h + l) % 2 == 0 ? 0.7f : 0.0f;
    for (int64_t i = 0; i < c.intermediate_size; ++i) {
      student.masks.intermediate[static_cast<size_t>(l * c.intermediate_size + i)] = (i * 7 + l) % 4 == 0 ? 0.9f : 0.0f;
    }
  }
  ExportRequest request;
  request.form = ExportForm::kPadded;
  request.dtype = ExportDType::kF16;
  request.source_folder = test::factbook_model();
  request.out_folder = (folder / "out").string();
  export_student(student, request);
  EXPECT_NE(test::read_file(folder / "out/README.md").find("an ordinary Hugging Face folder of a `LlamaForCausalLM`"), std::string::npos);
  const json config = json::parse(test::read_file(folder / "out/config.json"));
  EXPECT_EQ(config["architectures"][0], "LlamaForCausalLM");
  EXPECT_EQ(config["num_attention_heads"], 3);
  EXPECT_EQ(config["num_key_value_heads"], 3);
  EXPECT_EQ(config["intermediate_size"], 128);
  EXPECT_EQ(config["head_dim"], 32);
  EXPECT_EQ(config["torch_dtype"], "float16");
  EXPECT_FALSE(config.contains("espalier"));
  EXPECT_FALSE(config.contains("auto_map"));
}

TEST(Export, FilesOfTheFolder) {
  const TempFolder folder;
  const Student student(load_model(test::tiny_model()), 11);
  ExportRequest request;
  request.source_folder = test::tiny_model();
  request.out_folder = (folder / "out").string();
  request.model_card = "# Card\nfrom run 7\n";
  request.shard_bytes_max = 200'000;
  std::vector<double> progress;
  const ExportResult result =
      export_model(*student.model, &student.state, student.masks, request, [&](double share) { progress.push_back(share); }, kNotCancelled);
  EXPECT_FALSE(progress.empty());
  EXPECT_EQ(test::read_file(folder / "out/README.md").find(request.model_card + "\n## What loads it\n"), 0u);
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"}) {
    EXPECT_EQ(test::read_file(folder / ("out/" + std::string(name))), test::read_file(test::tiny_model() + "/" + name));
  }
  uint64_t total_bytes = 0;
  size_t shards = 0;
  for (const ExportedFile& file : result.files) {
    const std::string content = test::read_file(folder / ("out/" + file.name));
    EXPECT_EQ(file.size_bytes, content.size());
    EXPECT_EQ(file.sha256, sha256_hex({reinterpret_cast<const uint8_t*>(content.data()), content.size()}));
    total_bytes += content.size();
    shards += file.name.ends_with(".safetensors") ? 1 : 0;
  }
  EXPECT_EQ(result.total_bytes, total_bytes);
  EXPECT_GT(shards, 2u);
  EXPECT_TRUE(std::filesystem::exists(folder / "out/model.safetensors.index.json"));
  EXPECT_TRUE(load_model(request.out_folder)->bytes() > 0);
  size_t names = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path())) ++names;
  EXPECT_EQ(names, 1u);  // nothing hidden is left beside the export
}

TEST(Export, RoundsToTheDtypeAskedFor) {
  const TempFolder folder;
  const Student student(load_model(test::tiny_model()), 12);
  ExportRequest request;
  request.dtype = ExportDType::kF32;
  request.out_folder = (folder / "f32").string();
  export_student(student, request);
  request.dtype = ExportDType::kBF16;
  request.out_folder = (folder / "bf16").string();
  export_student(student, request);
  const auto exact = load_model((folder / "f32").string()), rounded = load_model((folder / "bf16").string());
  const WeightView a = exact->layer(1).proj[kDown], b = rounded->layer(1).proj[kDown];
  for (int64_t i = 0; i < a.rows * a.cols; ++i) {
    uint16_t bits;
    std::memcpy(&bits, static_cast<const uint8_t*>(b.data) + 2 * i, 2);
    ASSERT_EQ(bits, f32_to_bf16(decode(a.data, a.dtype, i)));
  }
}

TEST(Export, RefusesBadRequests) {
  const TempFolder folder;
  Student student(load_model(test::tiny_model()), 13);
  ExportRequest request;
  request.out_folder = (folder / "out").string();
  const auto refused = [&](ErrorCode code, const std::string& field, const std::string& message) {
    expect_error(code, field, message, [&] { export_student(student, request); });
    size_t names = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path())) ++names;
    EXPECT_LE(names, std::filesystem::exists(folder / "full") ? 1u : 0u) << message;
  };
  Masks good = student.masks;
  student.masks.head.pop_back();
  refused(ErrorCode::kInvalidArgument, "masks.head", "has 23 values; the model asks for 24");
  student.masks = good;
  student.masks.hidden[3] = NAN;
  refused(ErrorCode::kInvalidArgument, "masks.hidden", "outside [0, 1]");
  student.masks = good;
  request.source_folder = test::factbook_model();
  refused(ErrorCode::kInvalidArgument, "source_folder", "is not that of the model");
  request.source_folder = "";
  request.out_folder = (folder / "no/parent").string();
  refused(ErrorCode::kInvalidArgument, "out_folder", "parent folder");
  request.out_folder = "";
  refused(ErrorCode::kInvalidArgument, "out_folder", "must name a folder");
  std::filesystem::create_directory(folder / "full");
  test::write_file(folder / "full/file", "precious");
  request.out_folder = (folder / "full").string();
  refused(ErrorCode::kInvalidArgument, "out_folder", "nothing is overwritten");
  EXPECT_EQ(test::read_file(folder / "full/file"), "precious");
  request.out_folder = (folder / "out").string();
  request.dtype = ExportDType::kF16;
  const auto e = student.state.lora_a(0, kUp);
  for (float& v : student.state.view(*e)) v = 1e6f;
  refused(ErrorCode::kInvalidArgument, "dtype", "beyond the range of f16");
}

// Makes a student that keeps the same heads, units and hidden units in all layers of the tiny model.
Student even_student(int64_t hidden) {
  Student student(load_model(test::tiny_model()), 18);
  const auto keep_first = [](std::vector<float>& mask, size_t width, size_t kept) {
    for (size_t i = 0; i < mask.size(); ++i) mask[i] = i % width < kept ? 0.5f + 0.5f * static_cast<float>(i % 2) : 0.0f;
  };
  const ModelConfig& c = student.model->config();
  keep_first(student.masks.head, static_cast<size_t>(c.head_count), 4);
  keep_first(student.masks.intermediate, static_cast<size_t>(c.intermediate_size), 70);
  keep_first(student.masks.hidden, static_cast<size_t>(c.hidden_size), static_cast<size_t>(hidden));
  return student;
}

TEST(Export, CompactedLayersThatAreAlikeKeepTheStockClass) {
  for (const auto& [hidden, stock] : {std::pair{48, true}, std::pair{46, false}}) {  // transformers needs a multiple of the 4 heads
    const TempFolder folder;
    ExportRequest request = safetensors(ExportForm::kCompacted);
    request.source_folder = test::tiny_model();
    request.out_folder = (folder / "out").string();
    const Student student = even_student(hidden);
    const ExportResult result = export_student(student, request);
    const json config = json::parse(test::read_file(folder / "out/config.json"));
    EXPECT_EQ(config["architectures"][0], stock ? "LlamaForCausalLM" : "EspalierCompactedForCausalLM");
    EXPECT_EQ(result.architecture, config["architectures"][0]);
    EXPECT_EQ(config["hidden_size"], hidden);
    EXPECT_EQ(config.contains("espalier"), !stock);
    EXPECT_EQ(config.contains("auto_map"), !stock);
    EXPECT_EQ(std::filesystem::exists(folder / "out/modeling_espalier.py"), !stock);
    if (stock) {
      EXPECT_EQ(config["num_attention_heads"], 4);
      EXPECT_EQ(config["num_key_value_heads"], 1);
      EXPECT_EQ(config["intermediate_size"], 70);
      EXPECT_NE(test::read_file(folder / "out/README.md").find("an ordinary Hugging Face folder"), std::string::npos);
    }
    expect_same_likelihood(student, safetensors(ExportForm::kCompacted), test::tiny_model());
  }
}

TEST(Export, RefusesCompanionsWithoutEnd) {
  const TempFolder folder;
  const Student student(load_model(test::tiny_model()), 17);
  ExportRequest request;
  request.source_folder = (folder / "source").string();
  std::filesystem::copy(test::tiny_model(), request.source_folder);
  std::filesystem::permissions(request.source_folder, std::filesystem::perms::owner_all);
  for (const char* name : {"generation_config.json", "LICENSE"}) {
    const std::string path = request.source_folder + "/" + name;
    test::write_file(path, "");
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    std::filesystem::resize_file(path, uint64_t{1} << 30);  // makes a sparse file
    request.out_folder = (folder / "out").string();
    expect_error(ErrorCode::kFileTooLarge, name, "has 1073741824 bytes", [&] { export_student(student, request); });
    EXPECT_FALSE(std::filesystem::exists(folder / "out"));
    std::filesystem::remove(path);
  }
}

TEST(Export, CancelLeavesNothing) {
  const TempFolder folder;
  const Student student(load_model(test::tiny_model()), 14);
  ExportRequest request;
  request.out_folder = (folder / "out").string();
  const std::atomic<bool> cancelled{true};
  expect_error(ErrorCode::kCancelled, "", "nothing was left behind",
               [&] { export_model(*student.model, &student.state, student.masks, request, nullptr, cancelled); });
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

// When an export is killed in the middle, the folder's name never appears. The next export clears the remains and succeeds.
TEST(Export, KilledInTheMiddle) {
  const TempFolder folder;
  const Student student(load_model(test::tiny_model()), 15);
  ExportRequest request;
  request.source_folder = test::tiny_model();
  request.out_folder = (folder / "out").string();
  const pid_t child = fork();
  if (child == 0) {
    export_model(*student.model, &student.state, student.masks, request, [](double) { ::kill(::getpid(), SIGKILL); }, kNotCancelled);
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_FALSE(std::filesystem::exists(folder / "out"));
  EXPECT_FALSE(std::filesystem::is_empty(folder.path()));
  export_student(student, request);
  EXPECT_TRUE(load_model(request.out_folder)->bytes() > 0);
  size_t names = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path())) ++names;
  EXPECT_EQ(names, 1u);
}

// Compares the engine's own evaluation of the student with its masks and of the export.
TEST(Export, EngineGivesTheSamePerplexity) {
  for (const std::string& source : {test::tiny_model(), test::factbook_model()}) {
    const TempFolder folder;
    const auto model = load_model(source);
    TrainState state(model->config(), LoraSpec{});
    state.initialise(21);
    std::mt19937_64 random(22);
    std::normal_distribution<float> normal(0, 0.05f), log_alpha(0.3f, 2.0f);
    for (int64_t i = 0; i < state.size(); ++i) {
      state.params()[static_cast<size_t>(i)] = i < state.lora_size() ? normal(random) : log_alpha(random);
    }
    const auto ids = some_ids(model->config(), 600);
    BackendSpec on_one_thread;
    on_one_thread.threads = 1;
    const auto perplexity = [&](const std::shared_ptr<const ModelWeights>& m, const TrainState* s) {
      return evaluate(m, s, ids, 100, ComputeDType::kF32, on_one_thread, nullptr, kNotCancelled).negative_log_likelihood;
    };
    const double masked = perplexity(model, &state);
    EXPECT_GT(std::fabs(masked - perplexity(model, nullptr)), 1e-3);
    for (const ExportForm form : {ExportForm::kMasked, ExportForm::kCompacted}) {
      ExportRequest request;
      request.form = form;
      request.dtype = ExportDType::kF32;
      request.source_folder = source;
      request.out_folder = (folder / (form == ExportForm::kMasked ? "masked" : "compacted")).string();
      const auto result = export_model(*model, &state, deterministic_masks(model->config(), state), request, nullptr, kNotCancelled);
      EXPECT_NEAR(perplexity(load_model(request.out_folder), nullptr), masked, 1e-5) << request.out_folder;
      if (form == ExportForm::kCompacted) {
        EXPECT_LT(result.config.hidden_size, model->config().hidden_size);
      }
    }
  }
}

}  // namespace
}  // namespace espalier

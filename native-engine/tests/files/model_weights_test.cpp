#include "espalier/model/model_weights.h"

#include <sys/stat.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "files/number_formats.h"
#include "files/safetensors.h"
#include "test_files.h"

namespace espalier {
namespace {

using nlohmann::json;
using test::expect_error;
using test::TempFolder;

void expect_load_error(const std::string& folder, ErrorCode code, const std::string& field, const std::string& message) {
  expect_error(code, field, message, [&] { load_model(folder); });
}

// The tensors of a file. A test changes them and writes them again.
struct Content {
  std::map<std::string, std::pair<TensorSpec, std::string>> tensors;

  explicit Content(const std::string& path) {
    const std::string bytes = test::read_file(path);
    const Safetensors file =
        parse_safetensors({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, ErrorCode::kModelCorrupt, path);
    for (const auto& [name, view] : file.tensors) {
      tensors[name] = {{name, view.type, view.shape}, std::string(view.bytes.begin(), view.bytes.end())};
    }
  }
  void write(const std::filesystem::path& path) const {
    std::vector<TensorSpec> specs;
    std::string data;
    for (const auto& [name, tensor] : tensors) {
      specs.push_back(tensor.first);
      data += tensor.second;
    }
    test::write_file(path, safetensors_header(specs, {}) + data);
  }
};

class TinyCopy : public ::testing::Test {
 protected:
  TinyCopy() : content(test::tiny_model() + "/model.safetensors") {
    test::write_file(folder / "config.json", test::read_file(test::tiny_model() + "/config.json"));
  }
  std::string path() const { return folder.path().string(); }
  void expect_after_write(ErrorCode code, const std::string& field, const std::string& message) {
    content.write(folder / "model.safetensors");
    expect_load_error(path(), code, field, message);
  }

  TempFolder folder;
  Content content;
};

// Files that are not regular: a plain open of a FIFO without a writer would block, and a device never ends.
TEST_F(TinyCopy, FilesThatAreNone) {
  const std::string weights = (folder / "model.safetensors").string(), config = (folder / "config.json").string();
  ASSERT_EQ(::mkfifo(weights.c_str(), 0600), 0);
  expect_load_error(path(), ErrorCode::kFileNotRegular, "model.safetensors", "is a FIFO");
  std::filesystem::remove(weights);
  std::filesystem::create_symlink("/dev/zero", weights);
  expect_load_error(path(), ErrorCode::kFileNotRegular, "model.safetensors", "is allowed");
  std::filesystem::remove(weights);
  std::filesystem::create_symlink("nowhere", weights);
  expect_load_error(path(), ErrorCode::kModelNotFound, "model.safetensors", "cannot open");
  std::filesystem::remove(weights);
  ASSERT_EQ(::mkfifo((folder / "model.safetensors.index.json").string().c_str(), 0600), 0);
  expect_load_error(path(), ErrorCode::kFileNotRegular, "model.safetensors.index.json", "is a FIFO");
  std::filesystem::remove(config);
  ASSERT_EQ(::mkfifo(config.c_str(), 0600), 0);
  expect_load_error(path(), ErrorCode::kFileNotRegular, "config.json", "is a FIFO");
  std::filesystem::remove(config);
  test::write_file(config, "{}");
  std::filesystem::resize_file(config, uint64_t{1} << 40);  // makes a sparse file
  expect_load_error(path(), ErrorCode::kFileTooLarge, "config.json", "are allowed");
}

TEST(LoadModel, TheModelsOfTheRepository) {
  const auto fact = load_model(test::factbook_model());
  EXPECT_EQ(fact->config().hidden_size, 192);
  EXPECT_EQ(fact->bytes(), 3443136u * 2);  // the model card's parameter count, in bf16
  EXPECT_NE(fact->lm_head().data, fact->embedding().data);
  EXPECT_EQ(fact->layer(5).proj[kDown].cols, 512);
  const auto tiny = load_model(test::tiny_model());
  EXPECT_EQ(tiny->bytes(), 254400u * 2);
  EXPECT_EQ(tiny->lm_head().data, tiny->embedding().data);
  EXPECT_EQ(tiny->layer(0).proj[kK].rows, 16);
  EXPECT_EQ(tiny->digest().size(), 64u);
  EXPECT_EQ(tiny->digest(), load_model(test::tiny_model())->digest());
  EXPECT_NE(tiny->digest(), fact->digest());
}

TEST(LoadModel, ReadingTheWeightsEndsWhenItIsCancelled) {
  const std::atomic<bool> cancelled{true};
  const auto tiny = load_model(test::tiny_model());
  expect_error(ErrorCode::kCancelled, "model", "stopped", [&] { tiny->digest(cancelled); });
  EXPECT_EQ(tiny->digest(), load_model(test::tiny_model())->digest());  // a second call computes the digest after all
}

TEST_F(TinyCopy, DigestSeesEveryWeightAndTheConfig) {
  content.write(folder / "model.safetensors");
  const std::string original = load_model(test::tiny_model())->digest();
  EXPECT_EQ(load_model(path())->digest(), original);  // the order of the tensors in the file does not matter
  content.tensors.at("model.norm.weight").second[3] ^= 1;
  content.write(folder / "model.safetensors");
  EXPECT_NE(load_model(path())->digest(), original);
  content.tensors.at("model.norm.weight").second[3] ^= 1;
  content.write(folder / "model.safetensors");
  json config = json::parse(test::read_file(folder / "config.json"));
  config["rope_theta"] = 500001;
  test::write_file(folder / "config.json", config.dump());
  EXPECT_NE(load_model(path())->digest(), original);
}

// Tests every tensor that the model reads, with each kind of value and each format.
TEST_F(TinyCopy, WeightsThatAreNotFiniteAreRefusedByTheTensorsName) {
  const auto expect_refused = [&](const std::string& name, const std::string& text) {
    content.write(folder / "model.safetensors");
    expect_error(ErrorCode::kWeightNotFinite, "model", "tensor " + name + " holds " + text, [&] { load_model(path())->digest(); });
  };
  for (auto& [name, tensor] : content.tensors) {
    const std::string whole = tensor.second;
    tensor.second.replace(whole.size() - 2, 2, "\xc0\x7f");  // replaces the last value, in bf16
    expect_refused(name, "NaN at [");
    tensor.second = whole;
  }
  const std::string down = "model.layers.2.mlp.down_proj.weight";
  auto& tensor = content.tensors.at(down);
  const auto original = tensor;
  const auto bytes_of = [](uint32_t bits, size_t size) { return std::string(reinterpret_cast<const char*>(&bits), size); };
  struct Value {
    TensorType type;
    uint32_t bits;
    const char* text;
  };
  for (const auto& [type, bits, text] : {Value{TensorType::kBF16, 0x7f80, "infinity"}, Value{TensorType::kBF16, 0xff80, "-infinity"},
                                         Value{TensorType::kF16, 0x7c00, "infinity"}, Value{TensorType::kF16, 0xfe00, "NaN"},
                                         Value{TensorType::kF32, 0x7fc00000, "NaN"}, Value{TensorType::kF32, 0xff800000, "-infinity"}}) {
    const size_t size = type == TensorType::kF32 ? 4 : 2;
    tensor.first.type = type;
    tensor.second = std::string(64 * 160 * size, '\0');
    // The greatest finite value in the same place is accepted.
    tensor.second.replace(0, size, bytes_of(type == TensorType::kF32 ? 0x7f7fffff : type == TensorType::kF16 ? 0x7bff : 0x7f7f, size));
    content.write(folder / "model.safetensors");
    EXPECT_EQ(load_model(path())->digest().size(), 64u);
    tensor.second.replace((3 * 160 + 7) * size, size, bytes_of(bits, size));
    expect_refused(down, std::string(text) + " at [3, 7]");
  }
  tensor = original;
}

TEST_F(TinyCopy, MissingFiles) {
  expect_load_error(path() + "/nothing", ErrorCode::kModelNotFound, "model", "no folder");
  expect_load_error(path(), ErrorCode::kModelNotFound, "model", "no model.safetensors");
  std::filesystem::remove(folder / "config.json");
  expect_load_error(path(), ErrorCode::kModelNotFound, "config.json", "config.json");
}

TEST_F(TinyCopy, WrongTensors) {
  const std::string up = "model.layers.1.mlp.up_proj.weight";
  auto original = content.tensors.at(up);
  content.tensors.erase(up);
  expect_after_write(ErrorCode::kModelCorrupt, up, "its shape would be [160, 64]");
  content.tensors[up] = original;
  content.tensors[up].first.shape = {64, 160};
  expect_after_write(ErrorCode::kModelCorrupt, up, "has shape [64, 160]; config.json asks for [160, 64]");
  content.tensors[up].first = {up, TensorType::kI16, {160, 64}};
  expect_after_write(ErrorCode::kModelUnsupported, up, "supported are F32, F16, BF16");
  content.tensors[up] = original;
  content.tensors["model.layers.0.self_attn.o_proj.bias"] = {{"model.layers.0.self_attn.o_proj.bias", TensorType::kF32, {64}},
                                                             std::string(256, '\0')};
  expect_after_write(ErrorCode::kModelUnsupported, "o_proj.bias", "no place in this architecture");
}

TEST_F(TinyCopy, TruncatedFile) {
  const std::string bytes = test::read_file(test::tiny_model() + "/model.safetensors");
  for (const size_t size : {size_t{0}, size_t{5}, size_t{1000}, bytes.size() - 1}) {
    test::write_file(folder / "model.safetensors", bytes.substr(0, size));
    expect_load_error(path(), ErrorCode::kModelCorrupt, "model.safetensors", "");
  }
}

TEST_F(TinyCopy, ShardsWithAnIndex) {
  Content first = content, second = content;
  json map;
  for (const auto& [name, tensor] : content.tensors) {
    const bool in_first = name < "model.layers.1";
    (in_first ? second : first).tensors.erase(name);
    map[name] = in_first ? "model-00001-of-00002.safetensors" : "model-00002-of-00002.safetensors";
  }
  first.write(folder / "model-00001-of-00002.safetensors");
  second.write(folder / "model-00002-of-00002.safetensors");
  const auto write_index = [&](const json& index) { test::write_file(folder / "model.safetensors.index.json", index.dump()); };
  write_index({{"metadata", {{"total_size", 1}}}, {"weight_map", map}});
  EXPECT_EQ(load_model(path())->digest(), load_model(test::tiny_model())->digest());

  Content broken = second;
  broken.tensors.at("model.layers.1.mlp.up_proj.weight").second.replace(100, 2, "\xc0\x7f");
  broken.write(folder / "model-00002-of-00002.safetensors");
  expect_error(ErrorCode::kWeightNotFinite, "model", "model.layers.1.mlp.up_proj.weight", [&] { load_model(path())->digest(); });

  json changed = map;
  changed["model.norm.weight"] = "model-00001-of-00002.safetensors";
  write_index({{"weight_map", changed}});
  expect_load_error(path(), ErrorCode::kModelCorrupt, "index.json:model.norm.weight", "does not hold it");
  changed["model.norm.weight"] = "../other.safetensors";
  write_index({{"weight_map", changed}});
  expect_load_error(path(), ErrorCode::kModelCorrupt, "weight_map", "plain name");
  write_index({{"weight_map", json::object()}});
  expect_load_error(path(), ErrorCode::kModelCorrupt, "weight_map", "maps each tensor");
  write_index({{"weight_map", map}});
  std::filesystem::remove(folder / "model-00002-of-00002.safetensors");
  expect_load_error(path(), ErrorCode::kModelNotFound, "model-00002-of-00002.safetensors", "cannot open");
}

TEST(RandomModel, IsNormalAndAFunctionOfTheSeed) {
  const ModelConfig config = load_model(test::tiny_model())->config();
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const auto a = random_model(config, dtype, 5), b = random_model(config, dtype, 5), c = random_model(config, dtype, 6);
    EXPECT_EQ(a->digest(), b->digest());
    EXPECT_NE(a->digest(), c->digest());
    const WeightView w = a->embedding();
    const int64_t count = w.rows * w.cols;
    double sum = 0, squares = 0, fourth = 0;
    for (int64_t i = 0; i < count; ++i) {
      const double x = static_cast<double>(decode(w.data, dtype, i)) / 0.02;
      sum += x;
      squares += x * x;
      fourth += x * x * x * x;
    }
    const auto n = static_cast<double>(count);
    EXPECT_NEAR(sum / n, 0, 5 / std::sqrt(n));
    EXPECT_NEAR(squares / n, 1, 10 / std::sqrt(n));
    EXPECT_NEAR(fourth / n, 3, 60 / std::sqrt(n));
    EXPECT_EQ(decode(a->final_norm().data, dtype, 7), 1.0f);
    EXPECT_NE(std::memcmp(a->layer(0).proj[kQ].data, a->layer(1).proj[kQ].data, 64), 0);
  }
}

}  // namespace
}  // namespace espalier

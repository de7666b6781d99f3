// Reads thousands of damaged files, the same ones in every run. Each must load or be refused with an Error, and nothing else may happen.
// The build with sanitizers sees faults that a plain run would not.
#include <chrono>
#include <random>

#include "espalier/model/model_weights.h"
#include "files/safetensors.h"
#include "test_files.h"

namespace espalier {
namespace {

// Makes one to eight changes of the kinds that storage, networks and careless tools make, including edits of numbers and quotes.
std::string mutate(std::string bytes, size_t focus, std::mt19937_64& random) {
  const auto below = [&](size_t n) { return n == 0 ? size_t{0} : static_cast<size_t>(random() % n); };
  for (size_t change = 0; change <= below(8); ++change) {
    const size_t at = below(std::min(bytes.size(), below(4) == 0 ? bytes.size() : focus));
    if (bytes.empty()) break;
    switch (below(8)) {
      case 0:
        bytes[at] = static_cast<char>(random());
        break;
      case 1:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
        break;
      case 2:
        bytes.resize(at);
        break;
      case 3:
        bytes.erase(at, 1 + below(16));
        break;
      case 4:
        bytes.insert(at, bytes.substr(below(bytes.size()), 1 + below(40)));
        break;
      case 5:
        bytes.insert(at, std::string(1 + below(30), "0123456789-eE.{}[]\",:"[below(21)]));
        break;
      case 6: {
        const size_t digit = bytes.find_first_of("0123456789", at);
        if (digit != std::string::npos) bytes[digit] = static_cast<char>('0' + below(10));
        break;
      }
      default: {
        static const char* const kTokens[] = {
            "18446744073709551616", "-1", "9223372036854775807", "1e308", "null", "true", "[]", "{}", "\"\\u0000\"", "4294967296"};
        const size_t digit = bytes.find_first_of("0123456789", at);
        if (digit != std::string::npos) bytes.replace(digit, 1 + below(3), kTokens[below(10)]);
      }
    }
  }
  return bytes;
}

struct Tally {
  int accepted = 0, refused = 0;
  template <typename Work>
  void run(Work work) {
    try {
      work();
      ++accepted;
    } catch (const Error& e) {
      EXPECT_FALSE(std::string(e.what()).empty());
      EXPECT_LT(std::string(e.what()).size(), 2000u);
      ++refused;
    }
  }
};

template <typename Work>
Tally fuzz(const std::string& valid, size_t focus, int cases, uint64_t seed, Work work) {
  std::mt19937_64 random(seed);
  Tally tally;
  for (int i = 0; i < cases; ++i) {
    const std::string damaged = mutate(valid, focus, random);
    tally.run([&] { work(damaged); });
  }
  EXPECT_GT(tally.refused, cases / 2);  // most changes damage the file
  EXPECT_GT(tally.accepted, 0);         // and some leave it valid
  return tally;
}

size_t header_bytes(const std::string& file) {
  size_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<uint8_t>(file[static_cast<size_t>(i)]);
  return 8 + length;
}

TEST(ReaderFuzz, Safetensors) {
  // The file is small, so that thousands of cases take a moment. Sums over all bytes make sure that every view is in range.
  std::vector<TensorSpec> specs = {
      {"model.norm.weight", TensorType::kBF16, {16}}, {"a", TensorType::kF32, {3, 5}}, {"b", TensorType::kI64, {2, 1, 2}}};
  const std::string header = safetensors_header(specs, {{"format", "pt"}});
  const std::string valid = header + std::string(32 + 60 + 32, 'x');
  uint64_t sum = 0;
  fuzz(valid, header.size(), 6000, 1, [&](const std::string& damaged) {
    const Safetensors file =
        parse_safetensors({reinterpret_cast<const uint8_t*>(damaged.data()), damaged.size()}, ErrorCode::kModelCorrupt, "f");
    for (const auto& [name, tensor] : file.tensors) {
      for (const uint8_t byte : tensor.bytes) sum += byte;
    }
  });
  EXPECT_GT(sum, 0u);
}

TEST(ReaderFuzz, Config) {
  const std::string valid = test::read_file(test::tiny_model() + "/config.json");
  fuzz(valid, valid.size(), 4000, 2, [](const std::string& damaged) {
    const ModelConfig c = parse_model_config(damaged);
    EXPECT_EQ(static_cast<int64_t>(c.layers.size()), c.layer_count);
    EXPECT_EQ(c.head_count % c.kv_head_count, 0);
  });
}

TEST(ReaderFuzz, WholeFolder) {
  const test::TempFolder folder;
  test::write_file(folder / "config.json", test::read_file(test::tiny_model() + "/config.json"));
  const std::string valid = test::read_file(test::tiny_model() + "/model.safetensors");
  fuzz(valid, header_bytes(valid), 200, 3, [&](const std::string& damaged) {
    test::write_file(folder / "model.safetensors", damaged);
    const auto model = load_model(folder.path().string());
    EXPECT_EQ(model->digest().size(), 64u);
  });
}

TEST(ReaderFuzz, Index) {
  const test::TempFolder folder;
  test::write_file(folder / "config.json", test::read_file(test::tiny_model() + "/config.json"));
  const std::string bytes = test::read_file(test::tiny_model() + "/model.safetensors");
  test::write_file(folder / "part-1.safetensors", bytes);
  std::string map;
  for (const auto& [name, tensor] :
       parse_safetensors({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, ErrorCode::kModelCorrupt, "f").tensors) {
    map += (map.empty() ? "\"" : ",\"") + name + "\":\"part-1.safetensors\"";
  }
  const std::string valid =
      "{\"metadata\":{\"total_size\":508800,\"note\":\"" + std::string(1000, '.') + "\"},\"weight_map\":{" + map + "}}";
  fuzz(valid, valid.size(), 400, 4, [&](const std::string& damaged) {
    test::write_file(folder / "model.safetensors.index.json", damaged);
    load_model(folder.path().string());
  });
}

}  // namespace
}  // namespace espalier

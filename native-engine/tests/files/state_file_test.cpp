#include "espalier/method/train_state.h"

#include <cmath>
#include <limits>

#include "files/safetensors.h"
#include "files/sha256.h"
#include "method/masks/masks_digest.h"
#include "test_files.h"

namespace espalier {
namespace {

using test::expect_error;

ModelConfig tiny_config() { return parse_model_config(test::read_file(test::tiny_model() + "/config.json")); }

// Makes a state in which every value differs from its neighbours.
TrainState filled_state(const ModelConfig& config, const LoraSpec& lora) {
  TrainState state(config, lora);
  for (int64_t i = 0; i < state.size(); ++i) {
    const auto at = static_cast<size_t>(i);
    state.params()[at] = static_cast<float>(std::sin(0.37 * static_cast<double>(i)));
    state.adam_m()[at] = static_cast<float>(std::cos(0.11 * static_cast<double>(i)));
    state.adam_v()[at] = static_cast<float>(i % 101) * 1e-3f;
  }
  state.step = 1234;
  state.lambda = {-0.125, 3.5e-7};
  state.lambda_m = {0.1, -0.2};
  state.lambda_v = {0.3, 0.4};
  return state;
}

LoraSpec some_lora() {
  LoraSpec lora;
  lora.rank = 4;
  lora.alpha = 6.5;
  lora.targets = {true, false, true, false, false, true, false};
  return lora;
}

std::span<const uint8_t> bytes_of(const std::string& text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

class StateFile : public ::testing::Test {
 protected:
  StateFile() : config(tiny_config()), lora(some_lora()), state(filled_state(config, lora)) {
    const FileBytes serialized = state.serialize();
    bytes.assign(serialized.begin(), serialized.end());
  }
  void expect_corrupt(const std::string& damaged, const std::string& field, const std::string& message) {
    expect_error(ErrorCode::kStateCorrupt, field, message, [&] { TrainState::deserialize(bytes_of(damaged), config, lora); });
  }
  // Returns the file with the first bytes of one tensor overwritten.
  std::string poke(const std::string& tensor, const void* value, size_t size_bytes) {
    const TensorView view = parse_safetensors(bytes_of(bytes), ErrorCode::kStateCorrupt, "state").tensors.at(tensor);
    std::string out = bytes;
    out.replace(static_cast<size_t>(view.bytes.data() - bytes_of(bytes).data()), size_bytes, static_cast<const char*>(value), size_bytes);
    return out;
  }

  ModelConfig config;
  LoraSpec lora;
  TrainState state;
  std::string bytes;
};

TEST_F(StateFile, RoundTripIsExact) {
  const TrainState back = TrainState::deserialize(bytes_of(bytes), config, lora);
  EXPECT_TRUE(std::equal(back.params().begin(), back.params().end(), state.params().begin()));
  EXPECT_TRUE(std::equal(back.adam_m().begin(), back.adam_m().end(), state.adam_m().begin()));
  EXPECT_TRUE(std::equal(back.adam_v().begin(), back.adam_v().end(), state.adam_v().begin()));
  EXPECT_EQ(back.step, 1234);
  EXPECT_EQ(back.lambda, state.lambda);
  EXPECT_EQ(back.lambda_m, state.lambda_m);
  EXPECT_EQ(back.lambda_v, state.lambda_v);
  EXPECT_EQ(back.serialize(), state.serialize());
}

TEST_F(StateFile, DigestIsThatOfTheBytes) {
  EXPECT_EQ(state.digest(), sha256_hex(bytes_of(bytes)));
  const std::string before = state.digest();
  state.lambda_v[1] = std::nextafter(state.lambda_v[1], 1.0);
  EXPECT_NE(state.digest(), before);
}

TEST_F(StateFile, EqualStatesGiveEqualBytesAndSortedTensors) {
  EXPECT_EQ(filled_state(config, lora).serialize(), state.serialize());
  const std::string header = bytes.substr(8, bytes.find('\0', 8) - 8);
  EXPECT_LT(header.find("\"lambda\""), header.find("\"lora.rank\""));
  EXPECT_LT(header.find("\"mask.head\""), header.find("\"mask.head.adam_m\""));
  EXPECT_LT(header.find("\"model.layers.0.self_attn.q_proj.lora_A\""), header.find("\"step\""));
}

TEST_F(StateFile, TellsItsLora) {
  const LoraSpec found = read_lora_spec(bytes_of(bytes));
  EXPECT_EQ(found.rank, 4);
  EXPECT_EQ(found.alpha, 6.5);
  EXPECT_EQ(found.targets, lora.targets);
}

TEST_F(StateFile, RefusesAnotherLoraOrModel) {
  const auto refused = [&](LoraSpec other, const std::string& field, const std::string& message) {
    expect_error(ErrorCode::kStateCorrupt, field, message, [&] { TrainState::deserialize(bytes_of(bytes), config, other); });
  };
  LoraSpec other = lora;
  other.rank = 8;
  refused(other, "lora.rank", "is 4; the session has 8");
  other = lora;
  other.alpha = 7;
  refused(other, "lora.alpha", "the session has 7");
  other = lora;
  other.targets[kO] = true;
  refused(other, "lora.targets", "lacks self_attn.o_proj");
  const ModelConfig fact = parse_model_config(test::read_file(test::factbook_model() + "/config.json"));
  expect_error(ErrorCode::kStateCorrupt, "state:", "the model and the LoRA ask for",
               [&] { TrainState::deserialize(bytes_of(bytes), fact, lora); });
}

TEST_F(StateFile, RefusesDamage) {
  expect_corrupt("", "state", "8 bytes");
  expect_corrupt(bytes.substr(0, bytes.size() - 1), "state", "reach beyond");
  expect_corrupt(bytes + "x", "state", "bytes of it");
  const float nan = std::numeric_limits<float>::quiet_NaN(), negative = -1e-3f;
  expect_corrupt(poke("mask.hidden", &nan, 4), "state:mask.hidden", "not finite");
  expect_corrupt(poke("mask.hidden.adam_v", &negative, 4), "state:mask.hidden.adam_v", "negative");
  const int64_t minus = -1, zero = 0, many = int64_t{1} << 40, seven = 7;
  expect_corrupt(poke("step", &minus, 8), "state:step", "counts from 0");
  expect_corrupt(poke("lora.rank", &zero, 8), "state:lora.rank", "allowed are 1 to");
  expect_corrupt(poke("lora.rank", &many, 8), "state:lora.rank", "allowed are 1 to");
  expect_corrupt(poke("lora.targets", &seven, 8), "state:lora.targets", "0 and 1");
  const double infinity = std::numeric_limits<double>::infinity();
  expect_corrupt(poke("lambda.adam_v", &infinity, 8), "state:lambda", "finite");
  expect_corrupt(poke("lora.alpha", &infinity, 8), "state:lora.alpha", "finite");
  const std::string model = test::read_file(test::tiny_model() + "/model.safetensors");
  expect_corrupt(model, "state:__metadata__.format", "some other safetensors file");
}

TEST_F(StateFile, MasksDigestIsThatOfItsDescription) {
  const Masks masks{std::vector<float>(24, 1.0f), std::vector<float>(480, 0.25f), std::vector<float>(64, 0.0f)};
  std::string text = "espalier.masks 1 3 8 160 64\n";
  for (const auto* values : {&masks.head, &masks.intermediate, &masks.hidden}) {
    text.append(reinterpret_cast<const char*>(values->data()), values->size() * 4);
  }
  EXPECT_EQ(masks_digest(config, masks), sha256_hex(bytes_of(text)));
}

// The same tensors in another spelling make another file with another digest. It is refused, so that each state has only one digest.
TEST_F(StateFile, RefusesOtherSpellings) {
  const size_t at = bytes.find("espalier.train_state\"") + 21;
  std::string spaced = bytes;
  const size_t padding = bytes.find_last_of('}', bytes.find('\0', 8)) + 1;
  if (spaced[padding] == ' ') {  // moves a space of the padding into the header: the JSON stays the same
    spaced.erase(padding, 1);
    spaced.insert(at, " ");
    expect_corrupt(spaced, "state:header", "canonical");
  }
  std::vector<TensorSpec> specs;
  std::string data;
  const Safetensors file = parse_safetensors(bytes_of(bytes), ErrorCode::kStateCorrupt, "state");
  for (const auto& [name, view] : file.tensors) {
    specs.push_back({name, view.type, view.shape});
    data.append(view.bytes.begin(), view.bytes.end());
  }
  EXPECT_EQ(safetensors_header(specs, file.metadata) + data, bytes);
  specs.push_back({"zzz.extra", TensorType::kU8, {1}});
  expect_corrupt(safetensors_header(specs, file.metadata) + data + "x", "state:header", "canonical");
}

}  // namespace
}  // namespace espalier

// Decoding with a cache must agree at every position with a whole forward pass in double precision.
#include "generation/decoder.h"

#include "device/registry.h"
#include "export/compacted_model.h"
#include "files/export_student.h"
#include "files/small_models.h"
#include "step/step_helpers.h"

namespace espalier::test {

namespace {

std::shared_ptr<const ModelWeights> compacted(const Student& student, DType dtype = DType::kF32) {
  return compacted_model(*student.model, &student.state, student.masks, dtype);
}

// Returns the largest difference of the logits, divided by the root mean square of the reference's, after a prompt of `prompt` tokens and
// after each further token. Two sequences advance together; the second is compared with the reference.
double largest_error(const ModelWeights& shown, const std::shared_ptr<const ModelWeights>& model, const TrainState* state,
                     const Masks& masks, std::span<const uint32_t> ids, int64_t prompt, ComputeDType dtype = ComputeDType::kF32) {
  const Rows expected = ReferenceForward(shown, state, masks).logits(ids);
  const auto backend = make_backend(on_threads(2));
  const auto tokens = static_cast<int64_t>(ids.size());
  Decoder decoder(*backend, model, {2, tokens, tokens, dtype});
  const std::vector<uint32_t> other(ids.rbegin(), ids.rbegin() + 3);
  decoder.start(0, other, kNotCancelled);
  double worst = 0;
  const auto compare = [&](std::span<const float> logits, int64_t position) {
    double squares = 0;
    for (const double v : expected[position]) squares += v * v;
    const double scale = std::sqrt(squares / static_cast<double>(expected[position].size()));
    for (size_t j = 0; j < logits.size(); j++) worst = std::max(worst, std::fabs(logits[j] - expected[position][j]) / scale);
  };
  compare(decoder.start(1, ids.subspan(0, prompt), kNotCancelled), prompt - 1);
  for (int64_t t = prompt; t < tokens; t++) {
    const bool both = t < prompt + tokens / 2;
    std::vector<NextToken> next{{1, ids[t]}};
    if (both) next.insert(next.begin(), {0, 1});
    const std::vector<float> logits = decoder.advance(next);
    compare(std::span<const float>(logits).last(expected[t].size()), t);
  }
  return worst;
}

double largest_error(const std::shared_ptr<const ModelWeights>& model, std::span<const uint32_t> ids, int64_t prompt,
                     ComputeDType dtype = ComputeDType::kF32) {
  return largest_error(*model, model, nullptr, {}, ids, prompt, dtype);
}

double largest_error(const Student& student, std::span<const uint32_t> ids, int64_t prompt) {
  return largest_error(*student.model, compacted(student), &student.state, student.masks, ids, prompt);
}

}  // namespace

TEST(Decoder, GivesTheLogitsOfAWholePassAtEveryPosition) {
  for (const std::string& folder : {tiny_model(), factbook_model()}) {
    const auto model = load_model(folder);
    const auto ids = some_ids(model->config(), 40);
    EXPECT_LT(largest_error(model, ids, 1), 1e-5) << folder;
    EXPECT_LT(largest_error(model, ids, 23), 1e-5) << folder;
  }
}

TEST(Decoder, InBf16StaysAsNearAsAWholePassInBf16) {
  for (const std::string& folder : {tiny_model(), factbook_model()}) {
    const auto model = load_model(folder);
    EXPECT_LT(largest_error(model, some_ids(model->config(), 40), 8, ComputeDType::kBF16), 0.1) << folder;
  }
}

TEST(Decoder, SeesNothingBehindAWindowWhetherThePromptIsLongerOrNot) {
  const auto model = small_mistral();
  const auto ids = some_ids(model->config(), 24);
  for (const int64_t prompt : {1, 4, 5, 6, 17}) EXPECT_LT(largest_error(model, ids, prompt), 1e-5) << prompt;
}

TEST(Decoder, AddsTheBiasOfQueriesKeysAndValues) {
  const auto model = small_qwen();
  EXPECT_LT(largest_error(model, some_ids(model->config(), 20), 6), 1e-5);
}

TEST(Decoder, KnowsEveryKindOfModelWholeAndPruned) {
  for (const SmallKind& kind : small_kinds()) {
    const auto model = small_model(kind.config);
    const auto ids = some_ids(model->config(), 40);
    for (const int64_t prompt : {1, 17}) EXPECT_LT(largest_error(model, ids, prompt), 2e-5) << kind.name;
    EXPECT_LT(largest_error(Student(model, 10), ids, 9), 5e-5) << kind.name;
  }
}

TEST(Decoder, OfAPrunedModelGivesTheMaskedStudentsLogits) {
  for (const std::string& folder : {tiny_model(), factbook_model()}) {
    const Student student(load_model(folder), 7);
    EXPECT_LT(largest_error(student, some_ids(student.model->config(), 24), 9), 2e-5) << folder;
  }
  EXPECT_LT(largest_error(Student(small_mistral(), 8), some_ids(small_mistral()->config(), 24), 9), 2e-5);
  EXPECT_LT(largest_error(Student(small_qwen(), 9), some_ids(small_qwen()->config(), 24), 9), 2e-5);
}

TEST(Decoder, PassesOverLayersWithoutHeadsOrUnitsWhichTakeNoCache) {
  Student student(load_model(tiny_model()), 7);
  const ModelConfig& config = student.model->config();
  std::fill_n(student.masks.head.begin(), config.head_count, 0.0f);
  std::fill_n(student.masks.intermediate.begin() + config.intermediate_size, config.intermediate_size, 0.0f);
  EXPECT_LT(largest_error(student, some_ids(config, 24), 9), 2e-5);

  const DecoderShape shape{2, 8, 30, ComputeDType::kF32};
  const auto pruned = compacted(student);
  uint64_t expected = 0;
  for (const LayerShape& layer : pruned->config().layers)
    expected += static_cast<uint64_t>(2 * 30 * 2 * layer.kv_heads * padded_width(config.head_dim) * 4);
  EXPECT_EQ(pruned->config().layers.front().kv_heads, 0);
  EXPECT_NEAR(static_cast<double>(Decoder::cache_bytes(pruned->config(), shape)), static_cast<double>(expected),
              128.0 * static_cast<double>(config.layer_count + 1));
  EXPECT_LT(Decoder::cache_bytes(pruned->config(), shape), Decoder::cache_bytes(config, shape));
}

TEST(Decoder, GivesASequenceTheSameBitsAloneAndBesideOthers) {
  const auto model = load_model(factbook_model());
  const auto ids = some_ids(model->config(), 20);
  const auto backend = make_backend(on_threads(2));
  for (const ComputeDType dtype : {ComputeDType::kF32, ComputeDType::kBF16}) {
    Decoder alone(*backend, model, {1, 20, 24, dtype}), crowded(*backend, model, {16, 20, 24, dtype});
    const auto prompt = std::span<const uint32_t>(ids).first(5);
    EXPECT_EQ(alone.start(0, prompt, kNotCancelled), crowded.start(11, prompt, kNotCancelled));
    for (int64_t s = 0; s < 16; s++)
      if (s != 11) crowded.start(s, std::span<const uint32_t>(ids).first(static_cast<size_t>(1 + s % 7)), kNotCancelled);
    for (size_t t = 5; t < 20; t++) {
      std::vector<NextToken> next;
      for (int64_t s = 0; s < static_cast<int64_t>(16 - t % 3); s++) next.push_back({s, s == 11 ? ids[t] : ids[t - 3]});
      if (t % 2 == 0) std::swap(next[2], next[11]);
      const auto logits = crowded.advance(next);
      const size_t row = t % 2 == 0 ? 2 : 11, width = static_cast<size_t>(model->config().vocab_size);
      const std::vector<float> own(logits.begin() + row * width, logits.begin() + (row + 1) * width);
      const std::vector<NextToken> one{{0, ids[t]}};
      ASSERT_EQ(alone.advance(one), own) << "token " << t;
    }
  }
}

// Skips cards that this machine does not have.
TEST(Decoder, RunsOnEveryDevice) {
  const auto model = load_model(tiny_model());
  const auto ids = some_ids(model->config(), 12);
  for (const DeviceDescription& device : list_devices()) {
    if (!device.problem.empty() || device.name.starts_with("emulated:")) continue;  // skips all cards but the first
    const BackendSpec spec = parse_device(device.name, 2);
    const auto backend = make_backend(spec);
    Decoder decoder(*backend, model, {1, 5, 12, ComputeDType::kF32});
    std::vector<float> logits = decoder.start(0, std::span<const uint32_t>(ids).first(5), kNotCancelled);
    for (size_t t = 5; t < 12; t++) logits = decoder.advance(std::vector<NextToken>{{0, ids[t]}});
    const Rows expected = ReferenceForward(*model, nullptr, {}).logits(ids);
    for (size_t j = 0; j < logits.size(); j++) ASSERT_NEAR(logits[j], expected.back()[j], 1e-4) << device.name;
  }
}

}  // namespace espalier::test

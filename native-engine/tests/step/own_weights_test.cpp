// A student's own weights compute the same as its LoRA did, have the gradients of a plain forward pass in double, and end in the same bits
// wherever their training is cut.
#include "training/own_weights.h"

#include <numeric>

#include "cuda_emulator/emulated_kind.h"
#include "espalier/evaluation/evaluate.h"
#include "export/compacted_model.h"
#include "files/reference_forward.h"
#include "files/sha256.h"
#include "files/small_models.h"
#include "hidden_memory/hidden_memory_backend.h"
#include "method/masks/masks.h"
#include "step/step_helpers.h"

namespace espalier::test {

constexpr int64_t kShortTokens = 12, kShortSequences = 2;
constexpr double kTemperature = 2.0 / 3.0;
const Masks kAllOpen;

struct OwnCase {
  std::string name;
  LossWeights weights;
  int64_t shards = 1;
  nlohmann::json small_model = {};  // empty for a LLaMA whose weights are stored in bf16
  bool own_embeddings = true;
  bool all_hidden = false;  // no hidden unit is closed, so one product makes the logits of both roles where the embedding is the model's
};

class OwnWeights : public testing::TestWithParam<OwnCase> {
 protected:
  std::shared_ptr<const ModelWeights> model = GetParam().small_model.empty() ? light_model() : small_model(GetParam().small_model);
  const ModelConfig& config = model->config();
  std::shared_ptr<const TokenData> text = random_tokens(config.vocab_size, kShortTokens* kShortSequences);
  TrainState lora = pruned(), own = with_own_weights(*model, lora, GetParam().own_embeddings);
  Masks masks = deterministic_masks(config, lora);

  TrainState pruned() const {
    TrainState state(config, LoraSpec{});
    state.initialise(11);
    for (int64_t i = 0; i < state.lora_size(); i++) state.params()[i] += static_cast<float>(0.1 * random_normal(6, 0, 1, i));
    loosen_masks(state);
    // Closes the attention of the first layer.
    for (float& a : state.view(*state.find("mask.head")).first(static_cast<size_t>(config.head_count))) a = -4;
    if (GetParam().all_hidden)
      for (float& a : state.view(*state.find("mask.hidden"))) a = 4;
    state.step = 7;
    return state;
  }

  TrainerOptions options(ComputeDType dtype = ComputeDType::kF32) const {
    TrainerOptions o;
    o.dtype = dtype;
    o.batch_size = kShortSequences;
    o.sequence_length = kShortTokens;
    o.micro_shards = GetParam().shards;
    o.backend.threads = 2;
    o.recover_weights = GetParam().own_embeddings ? RecoverWeights::kAll : RecoverWeights::kLayers;
    return o;
  }

  std::unique_ptr<Trainer> session(const TrainState& state, const TrainerOptions& o) const {
    auto trainer = Trainer::create(model, state, o);
    trainer->set_data(text);
    trainer->import_state(state);
    return trainer;
  }

  SegmentPlan plan(int64_t steps, double rate) const {
    SegmentPlan p;
    p.losses = GetParam().weights;
    p.train_masks = false;
    p.moments_from_step = 7;
    p.gradient_clip_norm = 0;
    p.lora_learning_rate.assign(static_cast<size_t>(steps), rate);
    p.scheduled_sparsity.assign(static_cast<size_t>(steps), 0.5);
    return p;
  }

  double evaluated(const TrainState& state, ComputeDType dtype) const {
    const std::atomic<bool> cancel{false};
    return evaluate(model, &state, text->ids, kShortTokens, dtype, on_threads(2), nullptr, cancel).negative_log_likelihood;
  }

  std::span<const uint32_t> sequence(int64_t s) const { return std::span(text->ids).subspan(s * kShortTokens, kShortTokens); }

  struct Results {
    Rows logits;
    std::vector<Rows> layers;
  };
  static Results results(const ReferenceForward& forward, std::span<const uint32_t> ids) {
    Results r;
    r.logits = forward.logits(ids, r.layers);
    return r;
  }
  // Returns the teacher's results of each sequence. They stay the same while weights of the student are moved.
  const std::vector<Results>& of_teacher() const {
    const ReferenceForward teacher(*model, nullptr, kAllOpen);
    for (auto s = static_cast<int64_t>(of_teacher_.size()); s < kShortSequences; s++) of_teacher_.push_back(results(teacher, sequence(s)));
    return of_teacher_;
  }
  mutable std::vector<Results> of_teacher_;

  // Computes the loss of a step by a plain forward pass through the small model that an export of the state would hold.
  double loss(const TrainState& state) const {
    const LossWeights& w = GetParam().weights;
    const auto small = compacted_model(*model, &state, masks, DType::kF32);
    const ReferenceForward student(*small, nullptr, kAllOpen);
    std::vector<size_t> open;
    for (size_t j = 0; j < masks.hidden.size(); j++)
      if (masks.hidden[j] != 0.0f) open.push_back(j);
    double total = 0;
    for (int64_t s = 0; s < kShortSequences; s++) {
      const auto [logits, layers] = results(student, sequence(s));
      total += w.lm * ReferenceForward::negative_log_likelihood(logits, sequence(s)) / kShortSequences;
      if (w.layer == 0 && w.kl == 0) continue;
      const auto& [teacher_logits, teacher_layers] = of_teacher()[static_cast<size_t>(s)];
      std::vector<size_t> columns(open.size());
      std::iota(columns.begin(), columns.end(), size_t{0});
      total += w.layer * mean_layer_loss(w.layer_scale, layers, teacher_layers, columns, open) / kShortSequences;
      for (size_t t = 0; t < logits.size(); t++) total += w.kl * divergence(teacher_logits[t], logits[t]);
    }
    return total;
  }

  static double divergence(const std::vector<double>& teacher, const std::vector<double>& student) {
    const auto log_softmax = [](const std::vector<double>& logits) {
      double sum = 0;
      for (const double v : logits) sum += std::exp(v / kTemperature);
      std::vector<double> out;
      for (const double v : logits) out.push_back(v / kTemperature - std::log(sum));
      return out;
    };
    const std::vector<double> p = log_softmax(teacher), q = log_softmax(student);
    double sum = 0;
    for (size_t j = 0; j < p.size(); j++) sum += std::exp(p[j]) * (p[j] - q[j]);
    return sum * kTemperature * kTemperature / (kShortTokens * kShortSequences);
  }
};

TEST_P(OwnWeights, ComputeWhatLoraDid) {
  EXPECT_TRUE(own.has_own_weights());
  EXPECT_EQ(own.step, lora.step);
  // LoRA is folded into the weights with one rounding each, a relative error of 6e-8, which passes on to the results.
  const double with_lora = evaluated(lora, ComputeDType::kF32);
  EXPECT_NEAR(evaluated(own, ComputeDType::kF32), with_lora, 2e-7 * with_lora);
  EXPECT_NEAR(evaluated(own, ComputeDType::kBF16), evaluated(lora, ComputeDType::kBF16), 3e-2);
}

TEST_P(OwnWeights, HaveAnEmbeddingWhereItLearns) {
  EXPECT_EQ(own.find("model.embed_tokens.weight") != nullptr, GetParam().own_embeddings);
  EXPECT_EQ(own.find("lm_head.weight") != nullptr, GetParam().own_embeddings && !config.tied_embeddings);
}

TEST_P(OwnWeights, AnExportHoldsThem) {
  TrainState moved = own;
  for (int64_t i = 0; i < moved.lora_size(); i++) moved.params()[i] *= static_cast<float>(1 + 0.05 * random_normal(9, 0, 1, i));
  const auto small = compacted_model(*model, &moved, masks, DType::kF32);
  const ReferenceForward student(*small, nullptr, kAllOpen);
  double expected = 0;
  for (int64_t s = 0; s < kShortSequences; s++) expected += student.negative_log_likelihood(sequence(s)) / kShortSequences;
  EXPECT_NEAR(evaluated(moved, ComputeDType::kF32), expected, 3e-6);
  EXPECT_GT(std::abs(expected - evaluated(own, ComputeDType::kF32)), 1e-3);
}

TEST_P(OwnWeights, TheirGradientsAreThoseOfAPlainForwardPass) {
  const auto trainer = session(own, options());
  double reported = 0;
  const std::atomic<bool> cancel{false};
  trainer->run_segment(plan(1, 0.0), [&](const StepReport& r) { reported = r.loss; }, cancel);
  const double expected_loss = loss(own);
  EXPECT_NEAR(reported, expected_loss, 3e-6 * std::max(1.0, std::abs(expected_loss)));
  const TrainState after = trainer->export_state();
  TrainState changed = own;
  for (const TrainState::Entry& e : own.entries()) {
    if (e.offset >= own.lora_size()) continue;
    // The largest entry of the gradient is the best one to check.
    int64_t best = e.offset;
    for (int64_t i = e.offset; i < e.offset + e.size; i++)
      if (std::abs(after.adam_m()[i]) > std::abs(after.adam_m()[best])) best = i;
    EXPECT_EQ(after.params()[best], own.params()[best]) << "a rate of 0 moves nothing";
    float& value = changed.params()[best];
    const float at = value;
    value = at + 2e-3f;
    const double high_at = value, high = loss(changed);
    value = at - 2e-3f;
    const double low_at = value, low = loss(changed);
    value = at;
    const double expected = (high - low) / (high_at - low_at);
    EXPECT_NEAR(10.0 * after.adam_m()[best], expected, 2e-4 + 4e-3 * std::abs(expected)) << e.name;
  }
}

TEST_P(OwnWeights, EndInTheSameBitsWhereverTheyAreCut) {
  const auto whole = session(own, options(ComputeDType::kBF16));
  run(*whole, plan(5, 1e-3));
  const auto first = session(own, options(ComputeDType::kBF16));
  run(*first, plan(2, 1e-3));
  const FileBytes bytes = first->serialize();
  EXPECT_EQ(bytes, first->export_state().serialize());
  const TrainState read = TrainState::deserialize(bytes, config, LoraSpec{});
  ASSERT_TRUE(read.has_own_weights());
  EXPECT_EQ(read.digest(), sha256_hex(bytes));
  const auto second = session(own, options(ComputeDType::kBF16));
  second->import_state(StateReader(bytes, config, LoraSpec{}));
  run(*second, plan(3, 1e-3));
  EXPECT_EQ(digest_of(*second), digest_of(*whole));
  const TrainState after = whole->export_state();
  EXPECT_TRUE(std::equal(after.params().begin() + after.lora_size(), after.params().end(), own.params().begin() + own.lora_size()))
      << "masks stay";
  EXPECT_LT(evaluated(after, ComputeDType::kF32), 100.0);
}

TEST_P(OwnWeights, LearnTheTextThatTheySee) {
  const auto trainer = session(own, options(ComputeDType::kBF16));
  std::vector<double> losses;
  const std::atomic<bool> cancel{false};
  trainer->run_segment(plan(20, 2e-3), [&](const StepReport& r) { losses.push_back(r.loss); }, cancel);
  EXPECT_LT(losses.back(), 0.9 * losses.front());
}

// A device whose memory the host can't touch has the processor's bits. The emulated card has the processor's losses and bits of its own,
// which are the same wherever its training is cut. The kind of a model has no part in how a state is taken off the card and put back.
TEST_P(OwnWeights, LearnOnOtherDevices) {
  const auto outcome = [&](const std::string& device, int64_t cut) {
    TrainerOptions o = options();
    o.backend.name = device;
    std::vector<double> losses;
    TrainState state = own;
    const std::atomic<bool> cancel{false};
    for (const int64_t steps : {cut, 3 - cut}) {
      const auto trainer = session(state, o);
      trainer->run_segment(plan(steps, 1e-3), [&](const StepReport& r) { losses.push_back(r.loss); }, cancel);
      state = trainer->export_state();
    }
    return std::pair{losses, state.digest()};
  };
  const auto here = outcome("cpu", 1), hidden = outcome(kHiddenMemory, 2), card = outcome(kEmulatedCuda, 1);
  EXPECT_EQ(hidden, here);
  if (GetParam().small_model.empty()) EXPECT_EQ(outcome(kEmulatedCuda, 2), card);
  for (size_t i = 0; i < 3; i++) EXPECT_NEAR(card.first[i], here.first[i], 2e-5 * std::abs(here.first[i])) << "step " << i;
}

std::vector<OwnCase> own_cases() {
  std::vector<OwnCase> cases{{"lm", {0.0, 0.0, 1.0, kTemperature}},
                             {"the_method", {0.9, 0.1, 0.0, kTemperature}},
                             {"kl_in_shards", {0.0, 1.0, 0.0, kTemperature}, 2},
                             {"layers_in_shards", {0.9, 1.0, 0.3, kTemperature}, 2, {}, false},
                             {"layers_all_hidden", {0.9, 1.0, 0.3, kTemperature}, 1, {}, false, true},
                             {"qwen2", {0.5, 0.3, 0.2, kTemperature}, 1, {{"architectures", {"Qwen2ForCausalLM"}}}}};
  // A kind that differs only in the rotary embedding changes no gradient of a weight.
  for (const SmallKind& kind : small_kinds()) {
    const std::string name = kind.name;
    if (name.find("yarn") == std::string::npos) cases.push_back({name, {0.5, 0.3, 0.2, kTemperature}, 1, kind.config});
    // These scale what the embedding gives, or the logits.
    if (name == "granite" || name == "gemma2" || name == "gemma3")
      cases.push_back({name + "_layers", {0.5, 0.3, 0.2, kTemperature}, 1, kind.config, false});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Of, OwnWeights, testing::ValuesIn(own_cases()), [](const auto& info) { return info.param.name; });

TEST(OwnWeightsState, AnotherModelsMasksOrAMissingTensorAreRefused) {
  const auto model = load_model(tiny_model());
  TrainState state(model->config(), LoraSpec{});
  state.initialise(3);
  loosen_masks(state);
  const TrainState own = with_own_weights(*model, state);
  TrainState other = own;
  // The file's weights have more heads than these masks leave open.
  for (float& a : other.view(*other.find("mask.head"))) a = -4;
  EXPECT_THROW(TrainState::deserialize(other.serialize(), model->config(), LoraSpec{}), Error);
  EXPECT_NO_THROW(TrainState::deserialize(own.serialize(), model->config(), LoraSpec{}));
}

TEST(OwnWeightsState, MasksCanNotLearnAgain) {
  const auto model = load_model(tiny_model());
  TrainState state(model->config(), LoraSpec{});
  state.initialise(3);
  loosen_masks(state);
  TrainerOptions options;
  options.batch_size = 1;
  options.sequence_length = 8;
  options.backend.threads = 1;
  const TrainState own = with_own_weights(*model, state);
  const auto trainer = Trainer::create(model, own, options);
  trainer->set_data(random_tokens(model->config().vocab_size, 64));
  trainer->import_state(own);
  SegmentPlan plan = segment(0, 1);
  const std::atomic<bool> cancel{false};
  EXPECT_THROW(trainer->run_segment(plan, nullptr, cancel), Error);
}

}  // namespace espalier::test

// Sampling, sparsity, batch order, random numbers and the memory plan.
#include <omp.h>

#include <fstream>
#include <set>

#include "espalier/evaluation/evaluate.h"
#include "espalier/method/batch_order.h"
#include "espalier/training/memory_plan.h"
#include "files/small_models.h"
#include "method/masks/hard_concrete.h"
#include "method/masks/masks.h"
#include "method/sparsity/sparsity.h"
#include "method/sparsity/tracking.h"
#include "on_device/workspace.h"
#include "session/session_core.h"
#include "step/step_helpers.h"

namespace espalier::test {

TEST(Philox, KnownAnswers) {  // the published test vectors of Philox4x32-10
  const auto words = [](const RandomWords& counter, uint64_t seed) {
    const RandomWords w = philox(counter, seed);
    return std::array<uint32_t, 4>{w.w[0], w.w[1], w.w[2], w.w[3]};
  };
  const std::array<uint32_t, 4> zero = words({{0, 0, 0, 0}}, 0);
  EXPECT_EQ(zero, (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const std::array<uint32_t, 4> ones = words({{~0u, ~0u, ~0u, ~0u}}, ~0ull);
  EXPECT_EQ(ones, (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(BatchOrder, EachEpochVisitsEveryRowOnce) {
  for (const int64_t rows : {1, 2, 7, 64, 1000}) {
    std::set<int64_t> seen;
    std::vector<int64_t> first, second;
    for (int64_t s = 0; s < 2 * rows; s++) (s < rows ? first : second).push_back(batch_rows(9, s, 1, rows)[0]);
    for (int64_t r : first) EXPECT_TRUE(seen.insert(r).second && r >= 0 && r < rows);
    if (rows >= 64) EXPECT_NE(first, second) << "each epoch has an order of its own";
  }
  EXPECT_EQ(batch_rows(9, 3, 4, 1000)[2], batch_rows(9, 14, 1, 1000)[0]) << "only the position counts";
  expect_error(ErrorCode::kInvalidArgument, "data", "no row", [] { batch_rows(1, 0, 8, 0); });
}

TEST(HardConcrete, SampleMeanAndDerivative) {
  // The share of samples that are not 0 is the probability that the gate is open.
  int open = 0;
  const double a = 0.4;
  for (int i = 0; i < 20000; i++) open += hard_concrete::sample(a, hard_concrete::noise(random_uniform(1, 0, 5, i))) != 0.0f;
  EXPECT_NEAR(open / 20000.0, hard_concrete::open_probability(a), 0.01);
  const double u = hard_concrete::noise(0.37), h = 1e-3;
  const double z = hard_concrete::sample(a, u);
  const double slope = (static_cast<double>(hard_concrete::sample(a + h, u)) - hard_concrete::sample(a - h, u)) / (2 * h);
  EXPECT_NEAR(hard_concrete::sample_derivative(z), slope, 1e-3);
  EXPECT_EQ(hard_concrete::sample_derivative(0.0), 0.0);
  EXPECT_EQ(hard_concrete::sample_derivative(1.0), 0.0);
}

// The orchestrator has this formula too, since it checks targets before there is an engine. gates.test.ts reads the same file.
TEST(HardConcrete, AgreesWithTheTestVectorThatTypeScriptReads) {
  std::ifstream file(repository() / "testdata/vectors/open-probability.txt");
  double log_alpha = 0, open = 0;
  std::vector<double> log_alphas;
  while (file >> log_alpha >> open) {
    EXPECT_NEAR(hard_concrete::open_probability(log_alpha), open, 1e-15) << log_alpha;
    log_alphas.push_back(log_alpha);
  }
  ASSERT_GE(log_alphas.size(), 10u);
  EXPECT_EQ(log_alphas.front(), hard_concrete::kMinLogAlpha);
  EXPECT_EQ(log_alphas.back(), hard_concrete::kMaxLogAlpha);
}

// Every gate has the value that plain loops compute, and sums have one order, however many threads share the chunks.
TEST(Masks, HaveTheSameBitsOnAnyNumberOfThreads) {
  const ModelConfig config = parse_small({{"architectures", {"LlamaForCausalLM"}}, {"intermediate_size", 5000}, {"hidden_size", 9600}});
  LoraSpec none;
  none.targets = {};
  TrainState state(config, none);
  state.initialise(5);
  loosen_masks(state);
  const LogAlphas log_alphas(state);
  const std::vector<float> before(state.params().begin(), state.params().end());
  std::vector<float> moved = before;
  for (size_t i = 0; i < moved.size(); i++) moved[i] += static_cast<float>(0.1 * random_normal(5, 0, 1, static_cast<int64_t>(i)));
  std::vector<std::vector<float>> all;
  const int usual = omp_get_max_threads();
  for (const int threads : {1, 2, 3}) {
    omp_set_num_threads(threads);
    const Masks z = sample_masks(log_alphas, 7, 2);
    for (size_t i = 0; i < z.intermediate.size(); i += 997) {
      const double uniform = random_uniform(7, 2, static_cast<uint32_t>(RandomStream::kIntermediateMask), static_cast<int64_t>(i));
      EXPECT_EQ(z.intermediate[i], hard_concrete::sample(log_alphas.intermediate[i], hard_concrete::noise(uniform))) << i;
    }
    const MaskNoise noise = mask_noise(log_alphas, 7, 2);
    EXPECT_EQ(z.hidden.back(), sample_masks(log_alphas, noise).hidden.back());
    EXPECT_EQ(sample_masks(log_alphas, noise, 0.3).hidden.back(),
              hard_concrete::sample(log_alphas.hidden.back(), 0.3 * noise.kinds[2].back()));
    const ExpectedSparsity expected(config, log_alphas);
    double units = 0;
    for (const float a : log_alphas.intermediate) units += hard_concrete::open_probability(a);
    EXPECT_EQ(CostRule(config, state.shape, {}).expected(log_alphas).units, units);
    Masks gradient = log_alpha_gradient(z, z);
    expected.add_gradient(0.3, gradient);
    std::vector<float> tilted = moved;
    tilt_moves(config, state.shape, state, before, tilted, expected.value() + 0.01);
    std::vector<float> values = tilted;
    for (const Masks& masks : {z, gradient})
      for (const std::vector<float>* kind : kinds_of(masks)) values.insert(values.end(), kind->begin(), kind->end());
    values.push_back(static_cast<float>(expected.value()));
    all.push_back(values);
  }
  omp_set_num_threads(usual);
  EXPECT_EQ(all[1], all[0]);
  EXPECT_EQ(all[2], all[0]);
}

TEST(Sparsity, GradientIsThatOfTheExpectedSparsity) {
  const auto model = load_model(tiny_model());
  TrainState state(model->config(), LoraSpec{});
  state.initialise(2);
  EXPECT_LT(expected_sparsity(model->config(), state), 0.02) << "a run starts open";
  loosen_masks(state);
  Masks gradient{std::vector<float>(3 * 8, 0.0f), std::vector<float>(3 * 160, 0.0f), std::vector<float>(64, 0.0f)};
  ExpectedSparsity(model->config(), state).add_gradient(1.0, gradient);
  const auto check = [&](const char* name, const std::vector<float>& g) {
    float& a = state.view(*state.find(name))[5];
    const float at = a;
    a = at + 0.01f;
    const double high_at = a, high = expected_sparsity(model->config(), state);
    a = at - 0.01f;
    const double low_at = a, low = expected_sparsity(model->config(), state);
    a = at;
    const double expected = (high - low) / (high_at - low_at);
    EXPECT_NEAR(g[5], expected, 1e-4 * std::abs(expected)) << name;
  };
  check("mask.head", gradient.head);
  check("mask.intermediate", gradient.intermediate);
  check("mask.hidden", gradient.hidden);
}

TEST(Sparsity, DeterministicMasksCloseTheExpectedNumber) {
  const auto model = load_model(tiny_model());
  TrainState state(model->config(), LoraSpec{});
  state.initialise(2);
  loosen_masks(state);
  const Masks z = deterministic_masks(model->config(), state);
  const auto a = state.view(*state.find("mask.intermediate"));
  for (int64_t l = 0; l < 3; l++) {
    double expected = 0, lowest_open = 1e9, highest_closed = -1e9;
    int64_t open = 0;
    for (int64_t i = l * 160; i < (l + 1) * 160; i++) {
      expected += hard_concrete::open_probability(a[i]);
      if (z.intermediate[i] != 0.0f) {
        open++;
        lowest_open = std::min<double>(lowest_open, a[i]);
        EXPECT_FLOAT_EQ(z.intermediate[i], hard_concrete::soft_value(a[i]));
      } else {
        highest_closed = std::max<double>(highest_closed, a[i]);
      }
    }
    EXPECT_NEAR(static_cast<double>(open), expected, 0.51);
    EXPECT_LE(highest_closed, lowest_open);
  }
  const HardSparsity h = hard_sparsity(model->config(), state);
  EXPECT_NEAR(h.sparsity, h.expected_sparsity, 0.03);
}

TEST(Sparsity, CountsTheProjectionsThatAModelHas) {
  for (const SmallKind& kind : small_kinds()) {
    const auto model = small_model(kind.config);
    const PrunableSizes sizes = prunable_sizes(model->config());
    double all = 0, shared = 0;
    for (int64_t l = 0; l < model->config().layer_count; l++)
      for (int p = 0; p < kProjectionCount; p++) {
        const WeightView& w = model->layer(l).proj[p];
        all += static_cast<double>(w.rows * w.cols);
        if (p == kK || p == kV) shared += static_cast<double>(w.rows * w.cols);
      }
    if (!model->config().grouped_query()) shared = 0;
    EXPECT_EQ(sizes.stable, shared) << kind.name;
    EXPECT_EQ(sizes.prunable, all - shared) << kind.name;
  }
}

TEST(MemoryPlan, IsRefusedWhenItDoesNotFit) {
  const auto model = load_model(tiny_model());
  TrainerOptions options;
  options.memory_limit_bytes = 1 << 20;
  expect_error(ErrorCode::kOutOfMemory, "memory_limit_bytes", "no smaller batch or sequence would fit",
               [&] { Trainer::create(model, LoraSpec{}, options); });
  options = TrainerOptions{};
  const MemoryPlan all = plan_memory(model->config(), model->bytes(), LoraSpec{}, options);
  options.checkpoint_activations = true;
  const MemoryPlan checkpointed = plan_memory(model->config(), model->bytes(), LoraSpec{}, options);
  EXPECT_LT(checkpointed.activations, all.activations);
  EXPECT_EQ(all.total, all.weights + all.lora + all.optimizer + all.activations + all.teachers + all.scratch);
  options.sequence_length = 100000;
  expect_error(ErrorCode::kInvalidArgument, "sequence_length", "max_position_embeddings",
               [&] { Trainer::create(model, LoraSpec{}, options); });
}

// A run of a billion weights holds its state of own weights when recovery makes the room for it.
TEST(MemoryPlan, AStateThatTheProcessHoldsCountsAsAvailable) {
  const auto model = load_model(tiny_model());
  TrainerOptions options;
  options.held_bytes = uint64_t{1} << 50;
  EXPECT_GE(plan_memory(model->config(), model->bytes(), LoraSpec{}, options).available, options.held_bytes);
}

TEST(MemoryPlan, CountsTheLoraOfATeacherOnlyWhereSnapshotsInstruct) {
  const auto model = load_model(tiny_model());
  TrainerOptions options;
  options.teachers = 5;
  const MemoryPlan numerous = plan_session_memory(*model, LoraSpec{}, options, kSliceBytes);
  options.teachers = 0;
  const MemoryPlan intact = plan_session_memory(*model, LoraSpec{}, options, kSliceBytes);
  EXPECT_EQ(intact.teachers, 0u);
  const auto in_use = static_cast<uint64_t>(lora_parameter_count(model->config(), LoraSpec{})) * 4;
  EXPECT_EQ(numerous.teachers, 5 * numerous.lora + in_use);  // the session keeps five snapshots with their masks
  EXPECT_EQ(numerous.total - intact.total, numerous.teachers);
}

TEST(Evaluation, AgreesWithAPlainForwardPass) {
  // Tests of the whole program check factbook's first windows. This test checks the arithmetic: one window against double.
  const auto model = load_model(tiny_model());
  const auto tokens = random_tokens(model->config().vocab_size, 40);
  const std::atomic<bool> cancel{false};
  const EvaluationResult r = evaluate(model, nullptr, tokens->ids, 20, ComputeDType::kF32, on_threads(2), nullptr, cancel);
  EXPECT_EQ(r.predictions, 38);
  EXPECT_NEAR(r.perplexity, std::exp(r.negative_log_likelihood), 1e-9 * r.perplexity);
  expect_error(ErrorCode::kInvalidArgument, "window", "between 2",
               [&] { evaluate(model, nullptr, tokens->ids, 1, ComputeDType::kF32, on_threads(2), nullptr, cancel); });
  expect_error(ErrorCode::kInvalidArgument, "data", "fewer than one window",
               [&] { evaluate(model, nullptr, tokens->ids, 64, ComputeDType::kF32, on_threads(2), nullptr, cancel); });
}

}  // namespace espalier::test

// The plan tells a run's memory on a card before it starts. The emulator counts it.
#include "cuda_emulator/device_memory.h"
#include "cuda_emulator/emulated_kind.h"
#include "espalier/error.h"
#include "step/step_helpers.h"

namespace espalier::test {

namespace {

struct PlanCase {
  const char* name;
  ComputeDType dtype;
  bool checkpoint;
  int64_t batch, tokens;
  int64_t shards = 1;
  bool stream = false;
};

TrainerOptions options_of(const PlanCase& p) {
  TrainerOptions options;
  options.dtype = p.dtype;
  options.checkpoint_activations = p.checkpoint;
  options.batch_size = p.batch;
  options.sequence_length = p.tokens;
  options.micro_shards = p.shards;
  options.stream_weights = p.stream;
  options.backend = emulated_card("early");
  return options;
}

// Deep, so that most of its weights are away.
std::shared_ptr<const ModelWeights> deep_model() {
  ModelConfig config = load_model(tiny_model())->config();
  config.layer_count = 24;
  config.layers.assign(24, config.layers[0]);
  return random_model(config, DType::kBF16, 5);
}

}  // namespace

class CudaMemory : public testing::TestWithParam<PlanCase> {};

// A step under a teacher whose masks close, an update and an export, within 5% of the plan.
TEST_P(CudaMemory, IsAsPlanned) {
  const auto model = GetParam().stream ? deep_model() : load_model(tiny_model());
  const TrainerOptions options = options_of(GetParam());
  cuda::emulator::take_peak_bytes();
  const auto trainer = Trainer::create(model, LoraSpec{}, options);
  change_state(*trainer, [](TrainState& state) { state.initialise(11); });
  change_state(*trainer, loosen_masks);
  trainer->set_data(random_tokens(model->config().vocab_size, options.batch_size * options.sequence_length));
  trainer->use_teacher(trainer->export_snapshot());
  run(*trainer, segment(0, 1));
  const auto counted = static_cast<double>(cuda::emulator::take_peak_bytes());
  const MemoryPlan plan = plan_memory(model->config(), model->bytes(), LoraSpec{}, options);
  EXPECT_NEAR(static_cast<double>(plan.total) / counted, 1.0, 0.05);
  EXPECT_GT(plan.host, 0u);
}

INSTANTIATE_TEST_SUITE_P(Plans, CudaMemory,
                         testing::Values(PlanCase{"Bf16", ComputeDType::kBF16, false, 2, 64},
                                         PlanCase{"F32", ComputeDType::kF32, false, 1, 96},
                                         PlanCase{"Checkpointed", ComputeDType::kBF16, true, 3, 40},
                                         PlanCase{"InShards", ComputeDType::kBF16, false, 4, 48, 2},
                                         PlanCase{"Streamed", ComputeDType::kBF16, true, 1, 16, 1, true}),
                         [](const auto& info) { return info.param.name; });

namespace {

// The refusal of a run that may take so many bytes fewer than it needs.
std::string refusal(TrainerOptions options, uint64_t less) {
  const auto model = load_model(tiny_model());
  options.memory_limit_bytes = plan_memory(model->config(), model->bytes(), LoraSpec{}, options).total - less;
  try {
    Trainer::create(model, LoraSpec{}, options);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

// The change that is named is tried: it fits, and where it is a size one more would not.
TEST(MemoryPlan, ARefusalNamesTheSmallestChangeThatWouldFit) {
  TrainerOptions options = options_of({"", ComputeDType::kBF16, false, 8, 256});
  EXPECT_NE(refusal(options, 1).find("it would fit with checkpoint_activations: "), std::string::npos) << refusal(options, 1);
  options.checkpoint_activations = true;
  EXPECT_NE(refusal(options, 1).find("it would fit with stream_weights: "), std::string::npos) << refusal(options, 1);
  options.stream_weights = true;
  EXPECT_NE(refusal(options, 1).find("it would fit with batch_size 7: "), std::string::npos) << refusal(options, 1);
  options.batch_size = 1;
  EXPECT_NE(refusal(options, 1).find("it would fit with sequence_length 192: "), std::string::npos) << refusal(options, 1);
  options.sequence_length = 64;
  EXPECT_NE(refusal(options, 1).find("no smaller batch or sequence would fit"), std::string::npos) << refusal(options, 1);
}

TEST(MemoryPlan, ABatchOfShardsStaysAMultipleOfThem) {
  TrainerOptions options = options_of({"", ComputeDType::kBF16, true, 8, 256, 4, true});
  EXPECT_NE(refusal(options, 1).find("it would fit with batch_size 4: "), std::string::npos) << refusal(options, 1);
  TrainerOptions at_once = options;
  at_once.micro_shards = 1;
  const auto model = load_model(tiny_model());
  const auto activations = [&](const TrainerOptions& with) {
    return static_cast<double>(plan_memory(model->config(), model->bytes(), LoraSpec{}, with).activations);
  };
  EXPECT_NEAR(activations(options), activations(at_once) / 4, activations(at_once) / 100);
}

TEST(MemoryPlan, BothAChangeOfSizeAndCheckpointingIsNamedWhereNeitherIsEnough) {
  const auto model = load_model(tiny_model());
  TrainerOptions options = options_of({"", ComputeDType::kBF16, false, 8, 256});
  const auto planned = [&](const TrainerOptions& with) { return plan_memory(model->config(), model->bytes(), LoraSpec{}, with); };
  TrainerOptions least = options;
  least.batch_size = 1;
  const uint64_t limit = planned(least).total - 1;
  const auto change = smallest_change(options, limit, planned);
  ASSERT_TRUE(change);
  EXPECT_TRUE(change->checkpoint_activations);
  EXPECT_GE(change->batch_size, 1);
  EXPECT_LE(change->total, limit);
  TrainerOptions more = options;
  more.checkpoint_activations = true;
  more.batch_size = change->batch_size + 1;
  EXPECT_GT(planned(more).total, limit);
}

}  // namespace espalier::test

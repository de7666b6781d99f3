// The plan says before a run starts how much memory of a card it takes. The emulator counts what it really takes.
#include "cuda_emulator/device_memory.h"
#include "cuda_emulator/emulated_kind.h"
#include "espalier/base/error.h"
#include "espalier/evaluation/evaluate.h"
#include "espalier/training/memory_plan.h"
#include "step/step_helpers.h"
#include "training/own_weights.h"

namespace espalier::test {

namespace {

struct PlanCase {
  const char* name;
  ComputeDType dtype;
  bool checkpoint;
  int64_t batch, tokens;
  int64_t shards = 1;
  bool stream = false;
  int64_t wider_by = 0;  // by how much recovery raises LoRA's rank
  double dropout = 0;
  std::optional<Importance> one_shot = {};
  bool own_embeddings = true;  // of recovery with own weights
};

TrainerOptions options_of(const PlanCase& p) {
  TrainerOptions options;
  options.dtype = p.dtype;
  options.checkpoint_activations = p.checkpoint;
  options.batch_size = p.batch;
  options.sequence_length = p.tokens;
  options.micro_shards = p.shards;
  options.stream_weights = p.stream;
  options.recover_lora_dropout = p.dropout;
  options.backend = emulated_card("early");
  return options;
}

// Makes a model with many layers, so that most of its weights are not on the card when they are streamed.
std::shared_ptr<const ModelWeights> deep_model() {
  ModelConfig config = load_model(tiny_model())->config();
  config.layer_count = 24;
  config.layers.assign(24, config.layers[0]);
  return random_model(config, DType::kBF16, 5);
}

}  // namespace

class CudaMemory : public testing::TestWithParam<PlanCase> {};

// Makes one step of a phase: it trains masks, or trains only LoRA, or prunes all at once.
SegmentPlan step_of(const PlanCase& p) {
  SegmentPlan plan = segment(0, 1);
  plan.train_masks = p.dropout == 0 && p.wider_by == 0;
  if (p.one_shot) {
    plan.one_shot = OneShot{.importance = *p.one_shot, .calibration_sequences = 2 * p.batch};
    plan.scheduled_sparsity[0] = 0.3;
  }
  return plan;
}

// A step under a teacher whose masks close, with its update, an export and an evaluation, must take the planned memory within 5%.
TEST_P(CudaMemory, IsAsPlanned) {
  const PlanCase& p = GetParam();
  const auto model = p.stream ? deep_model() : load_model(tiny_model());
  TrainerOptions options = options_of(p);
  options.recover_lora_rank = p.wider_by;
  options.teachers = p.one_shot ? 0 : 1;
  const MemoryPlan plan = plan_memory(model->config(), model->bytes(), LoraSpec{}, options);
  LoraSpec lora;
  lora.rank += std::exchange(options.recover_lora_rank, 0);
  cuda::emulator::take_peak_bytes();
  const auto trainer = Trainer::create(model, lora, options);
  change_state(*trainer, [](TrainState& state) { state.initialise(11); });
  if (!p.one_shot) change_state(*trainer, loosen_masks);
  const auto tokens = random_tokens(model->config().vocab_size, 4 * options.batch_size * options.sequence_length);
  trainer->set_data(tokens);
  if (!p.one_shot) trainer->use_teacher(trainer->export_snapshot());
  run(*trainer, step_of(p));
  const std::atomic<bool> cancel{false};
  evaluate(model, nullptr, tokens->ids, options.sequence_length, options.dtype, options.backend, nullptr, cancel,
           trainer->home(options.backend, true));
  const auto counted = static_cast<double>(cuda::emulator::take_peak_bytes());
  const double ratio = static_cast<double>(plan.total) / counted;
  // The one step of a baseline takes less than the steps of its recovery, which must fit too.
  EXPECT_GT(ratio, 0.95) << plan.total << " planned, " << counted << " counted";
  EXPECT_LT(ratio, p.one_shot ? 1.25 : 1.05) << plan.total << " planned, " << counted << " counted";
  EXPECT_GT(plan.host, 0u);
}

INSTANTIATE_TEST_SUITE_P(
    Plans, CudaMemory,
    testing::Values(PlanCase{"Bf16", ComputeDType::kBF16, false, 2, 64}, PlanCase{"F32", ComputeDType::kF32, false, 1, 96},
                    PlanCase{"Checkpointed", ComputeDType::kBF16, true, 3, 40}, PlanCase{"InShards", ComputeDType::kBF16, false, 4, 48, 2},
                    PlanCase{"Streamed", ComputeDType::kBF16, true, 1, 16, 1, true},
                    PlanCase{"WiderLora", ComputeDType::kBF16, false, 2, 64, 1, false, 8},
                    PlanCase{"Dropout", ComputeDType::kBF16, true, 2, 64, 1, false, 0, 0.1},
                    PlanCase{"PrunedAtOnceByMagnitude", ComputeDType::kBF16, true, 1, 48, 1, false, 0, 0, Importance::kMagnitude},
                    PlanCase{"PrunedAtOnceByWanda", ComputeDType::kF32, false, 1, 48, 1, false, 0, 0, Importance::kWanda},
                    PlanCase{"PrunedAtOnceByTaylor", ComputeDType::kBF16, true, 2, 32, 2, false, 0, 0, Importance::kTaylor}),
    [](const auto& info) { return info.param.name; });

class CudaMemoryOfOwnWeights : public testing::TestWithParam<PlanCase> {};

// A step of all weights that a pruned student has left, with its update, an export and an evaluation: 16 bytes for each weight, the intact
// model beside them, and the activations.
TEST_P(CudaMemoryOfOwnWeights, IsAsPlanned) {
  const PlanCase& p = GetParam();
  const auto model = p.stream ? deep_model() : load_model(tiny_model());
  TrainerOptions options = options_of(p);
  options.recover_weights = p.own_embeddings ? RecoverWeights::kAll : RecoverWeights::kLayers;
  TrainState lora(model->config(), LoraSpec{});
  lora.initialise(11);
  loosen_masks(lora);
  const TrainState own = with_own_weights(*model, lora, p.own_embeddings);
  const MemoryPlan plan = plan_memory(model->config(), model->bytes(), static_cast<const StateLayout&>(own), options);
  cuda::emulator::take_peak_bytes();
  const auto trainer = Trainer::create(model, own, options);
  const auto tokens = random_tokens(model->config().vocab_size, 4 * options.batch_size * options.sequence_length);
  trainer->set_data(tokens);
  trainer->import_state(own);
  SegmentPlan step = segment(0, 1);
  step.train_masks = false;
  run(*trainer, step);
  const TrainState after = trainer->export_state();
  EXPECT_NE(after.digest(), own.digest());
  const std::atomic<bool> cancel{false};
  evaluate(model, nullptr, tokens->ids, options.sequence_length, options.dtype, options.backend, nullptr, cancel,
           trainer->home(options.backend, true));
  const auto counted = static_cast<double>(cuda::emulator::take_peak_bytes());
  const double ratio = static_cast<double>(plan.total) / counted;
  EXPECT_GT(ratio, 0.95) << plan.total << " planned, " << counted << " counted";
  EXPECT_LT(ratio, 1.05) << plan.total << " planned, " << counted << " counted";
  EXPECT_GE(plan.optimizer + plan.lora, 12 * static_cast<uint64_t>(own.lora_size()));  // the weight and both moments of each
}

INSTANTIATE_TEST_SUITE_P(Plans, CudaMemoryOfOwnWeights,
                         testing::Values(PlanCase{"Bf16", ComputeDType::kBF16, false, 2, 64},
                                         PlanCase{"CheckpointedInShards", ComputeDType::kBF16, true, 4, 48, 4},
                                         PlanCase{"F32", ComputeDType::kF32, false, 1, 96},
                                         PlanCase{"Layers", ComputeDType::kBF16, false, 2, 64, 1, false, 0, 0, {}, false},
                                         PlanCase{"Streamed", ComputeDType::kBF16, true, 1, 16, 1, true}),
                         [](const auto& info) { return info.param.name; });

namespace {

// Returns the text by which a run is refused that may take `less` bytes fewer than it needs.
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

// Tries the change that the refusal names: with it the run fits, and where the change is a size, one more would not fit.
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

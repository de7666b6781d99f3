// A run ends in the same bits on one device and on several devices that share the shards of each step. The devices are processors and
// emulated cards.
#include <fstream>
#include <numeric>

#include "cuda_emulator/emulated_kind.h"
#include "cuda_emulator/emulator.h"
#include "device/registry.h"
#include "espalier/base/error.h"
#include "espalier/training/memory_plan.h"
#include "files/small_models.h"
#include "method/masks/masks.h"
#include "step/step_helpers.h"
#include "training/more_devices.h"
#include "training/own_weights.h"

namespace espalier::test {

namespace {

constexpr int64_t kTokens = 24, kSequences = 8;

// Returns the device of a kind by its number.
using DeviceOf = std::function<BackendSpec(int number)>;

BackendSpec processor(int) { return resolve_backend(parse_device("cpu", 1)); }
DeviceOf card(const char* behaviour) {
  return [=](int number) { return emulated_card(behaviour, number); };
}

void give_devices(TrainerOptions& options, const DeviceOf& device, int count) {
  options.backend = device(0);
  options.more_devices.clear();
  for (int i = 1; i < count; i++) options.more_devices.push_back(device(i));
}

class SeveralDevices : public testing::Test {
 protected:
  std::shared_ptr<const ModelWeights> model = light_model();
  TrainerOptions options;
  int64_t steps = 2;  // the steps before the number of devices changes

  SeveralDevices() {
    options.batch_size = kSequences;
    options.sequence_length = kTokens;
    options.micro_shards = 4;
  }

  std::unique_ptr<Trainer> session(const DeviceOf& device, int count) {
    give_devices(options, device, count);
    auto trainer = Trainer::create(model, LoraSpec{}, options);
    change_state(*trainer, [](TrainState& state) {
      state.initialise(11);
      loosen_masks(state);
    });
    trainer->set_data(random_tokens(model->config().vocab_size, kTokens * 31));
    return trainer;
  }

  // Runs steps under three teachers, the intact model and two snapshots, on different numbers of devices in turn. Between two of them only
  // the bytes of the state remain, as after a kill.
  std::string digest_after(const DeviceOf& device, const std::vector<int>& counts) {
    FileBytes state;
    std::vector<TrainState> teachers;
    for (size_t i = 0; i < 3; i++) {
      const auto trainer = session(device, counts[i % counts.size()]);
      if (!state.empty()) trainer->import_state(TrainState::deserialize(state, model->config(), LoraSpec{}));
      if (i > 0) trainer->use_teacher(teachers[i - 1]);
      run(*trainer, segment(static_cast<int64_t>(i) * steps, steps));
      teachers.push_back(trainer->export_snapshot());
      state = trainer->serialize();
    }
    return session_digest(state);
  }

  std::string session_digest(std::span<const uint8_t> state) {
    return TrainState::deserialize(state, model->config(), LoraSpec{}).digest();
  }
};

}  // namespace

TEST_F(SeveralDevices, ARunOfProcessorsEndsInTheBitsOfOne) {
  for (const ComputeDType dtype : {ComputeDType::kF32, ComputeDType::kBF16})
    for (const bool checkpoint : {false, true}) {
      options.dtype = dtype;
      options.checkpoint_activations = checkpoint;
      const std::string one = digest_after(processor, {1});
      for (const std::vector<int>& counts : {std::vector{2}, {4}, {1, 4, 2}, {4, 2, 1}})
        EXPECT_EQ(digest_after(processor, counts), one) << counts[0] << " first";
    }
}

TEST_F(SeveralDevices, ARunOfCardsEndsInTheBitsOfOneHoweverTheirQueuesRun) {
  options.batch_size = 4;
  options.sequence_length = 4;
  steps = 1;
  const std::string one = digest_after(card("early"), {1});
  EXPECT_EQ(digest_after(card("late"), {2, 4, 1}), one);
  options.stream_weights = true;
  EXPECT_EQ(digest_after(card("late-copies"), {4, 2}), one);
}

TEST_F(SeveralDevices, ACardSendsTheOthersSlicesOfLoraAndOfItsGradient) {
  options.batch_size = 4;
  options.sequence_length = 4;
  const auto trainer = session(card("late"), 4);
  cuda::emulated::take_sent_bytes();
  run(*trainer, segment(0, 1));
  const auto sent = cuda::emulated::take_sent_bytes();
  const int64_t size = lora_parameter_count(model->config(), LoraSpec{});
  const auto slice = static_cast<uint64_t>((size / 4 + 63) / 64 * 64) * sizeof(float);
  ASSERT_LT(3 * slice, static_cast<uint64_t>(size) * sizeof(float)) << "the last slice is empty";
  uint64_t all = 0;
  for (size_t from = 0; from < 4; from++)
    for (size_t to = 0; to < 4; to++) {
      all += sent[from][to];
      if (from != to) EXPECT_GT(sent[from][to], slice) << from << " to " << to;
      // The first card sends its own slice of LoRA and that of the other card, all others only their own. Each sends a slice of its
      // gradient.
      EXPECT_LE(sent[from][to], (from == 0 ? 3 : 2) * slice) << from << " to " << to;
    }
  // LoRA goes to three cards, each slice of the gradients to the card that adds it up from three, and all sums but the first to the first.
  EXPECT_EQ(all, 7 * static_cast<uint64_t>(size) * sizeof(float) - slice);
}

TEST_F(SeveralDevices, EveryNumberOfShardsThatTheyDivideKeepsItsBits) {
  options.batch_size = 24;
  options.sequence_length = 8;
  std::vector<std::string> digests;
  for (const int64_t shards : {1, 2, 3, 6, 8, 12, 24}) {
    options.micro_shards = shards;
    const std::string one = digest_after(processor, {1});
    for (const int count : {2, 3, 4, 8}) EXPECT_EQ(digest_after(processor, {count}), one) << shards << " shards on " << count;
    digests.push_back(one);
  }
  std::sort(digests.begin(), digests.end());
  EXPECT_EQ(std::unique(digests.begin(), digests.end()), digests.end()) << "each number of shards has bits of its own";
}

TEST_F(SeveralDevices, EveryLossHasItsMeanOverTheWholeBatch) {
  for (const LossWeights& losses : {LossWeights{1, 0, 0, 1}, LossWeights{0, 1, 0, 0.7}, LossWeights{0, 0, 1, 1}}) {
    const auto probed = [&](int64_t shards, int count) {
      options.dtype = ComputeDType::kF32;
      options.micro_shards = shards;
      const auto trainer = session(processor, count);
      change_state(*trainer, [](TrainState& state) {
        for (int64_t i = 0; i < state.lora_size(); i++) state.params()[i] += static_cast<float>(0.01 * random_normal(6, 0, 1, i));
      });
      StepProbe probe;
      const auto tokens = random_tokens(model->config().vocab_size, kSequences * kTokens);
      probe.input_ids.assign(tokens->ids.begin(), tokens->ids.end());
      probe.student = probe.teacher = deterministic_masks(model->config(), trainer->log_alphas());
      std::fill(probe.teacher.head.begin(), probe.teacher.head.end(), 1.0f);
      trainer->probe(probe, losses);
      return probe;
    };
    const StepProbe whole = probed(1, 1), one = probed(4, 1), four = probed(4, 4);
    EXPECT_EQ(one.grad_lora, four.grad_lora);
    EXPECT_EQ(one.grad_z.head, four.grad_z.head);
    EXPECT_EQ(one.grad_z.intermediate, four.grad_z.intermediate);
    EXPECT_EQ(one.grad_z.hidden, four.grad_z.hidden);
    EXPECT_EQ(one.loss, four.loss);
    EXPECT_NEAR(whole.loss, four.loss, 1e-6 * std::abs(whole.loss));
    EXPECT_LT(relative_error(four.grad_lora, whole.grad_lora), 2e-6);
    EXPECT_LT(relative_error(four.grad_z.hidden, whole.grad_z.hidden), 1e-5);
  }
}

// Dropout draws by the place of a row in the step, so it does not matter which device has the row.
TEST_F(SeveralDevices, RecoveryWithDropoutAndARefitEndsInTheBitsOfOne) {
  options.recover_lora_dropout = 0.1;
  options.recover_refit_batches = 1;
  const auto digest = [&](int count) {
    const auto trainer = session(processor, count);
    SegmentPlan plan = segment(0, 3);
    plan.losses = {0.5, 0.2, 1.0, 1.0};
    plan.train_masks = false;
    run(*trainer, plan);
    return digest_of(*trainer);
  };
  const std::string one = digest(1);
  EXPECT_EQ(digest(2), one);
  EXPECT_EQ(digest(4), one);
}

// Recovery of all weights computes only on the first device, whatever number the engine has.
TEST_F(SeveralDevices, RecoveryOfAllWeightsThatIsKilledAndGoesOnWithAnotherNumberEndsInTheBitsOfOne) {
  options.recover_weights = RecoverWeights::kAll;
  options.batch_size = 4;
  options.sequence_length = 8;
  TrainState pruned(model->config(), LoraSpec{});
  pruned.initialise(11);
  loosen_masks(pruned);
  pruned.step = 7;
  const FileBytes begin = with_own_weights(*model, pruned).serialize();
  const auto digest = [&](const DeviceOf& device, const std::vector<int>& counts) {
    FileBytes state = begin;
    for (int64_t i = 0; i < 3; i++) {
      give_devices(options, device, counts[static_cast<size_t>(i) % counts.size()]);
      const TrainState before = TrainState::deserialize(state, model->config(), LoraSpec{});
      const auto trainer = Trainer::create(model, before, options);
      trainer->set_data(random_tokens(model->config().vocab_size, 8 * 31));
      trainer->import_state(before);
      SegmentPlan plan = segment(7 + i, 1);
      plan.losses = {0.5, 0.2, 1.0, 1.0};
      plan.train_masks = false;
      plan.moments_from_step = 7;
      run(*trainer, plan);
      state = trainer->serialize();
    }
    return TrainState::deserialize(state, model->config(), LoraSpec{}).digest();
  };
  const std::string one = digest(processor, {1});
  for (const std::vector<int>& counts : {std::vector{4}, {1, 4, 2}, {2, 1, 4}}) EXPECT_EQ(digest(processor, counts), one) << counts[0];
  EXPECT_EQ(digest(card("late"), {4, 1, 2}), digest(card("early"), {1}));
}

// The test runs in a process of its own, since the card is lost for the whole process. The other devices compute or wait meanwhile, and
// none of them may hang.
TEST(SeveralDevicesDeathTest, ADeviceThatIsLostInTheMiddleOfAStepEndsTheStepOfAll) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto lose = [](const char* behaviour, const char* fault) {
    const std::filesystem::path faults = std::filesystem::temp_directory_path() / ("cards-" + std::to_string(getpid()));
    std::filesystem::create_directory(faults);
    setenv("ESPALIER_EMULATED_FAULTS", faults.c_str(), 1);
    const auto model = light_model();
    TrainerOptions options;
    options.batch_size = 4;
    options.sequence_length = 4;
    options.micro_shards = 4;
    give_devices(options, card(behaviour), 4);
    auto trainer = Trainer::create(model, LoraSpec{}, options);
    change_state(*trainer, [](TrainState& state) { state.initialise(11); });
    trainer->set_data(random_tokens(model->config().vocab_size, 4 * 31));
    run(*trainer, segment(0, 1));
    std::ofstream(faults / fault);
    std::string said = "no error";
    try {
      run(*trainer, segment(1, 1));
    } catch (const Error& error) {
      said = std::string(error_code_name(error.code())) + " " + error.what();
    }
    trainer.reset();
    std::filesystem::remove_all(faults);
    std::cerr << said << "\n";
    std::_Exit(3);
  };
  for (const char* fault : {"2.rmsnorm_backward", "3.token_loss", "2.add"})
    EXPECT_EXIT(lose("late", fault), testing::ExitedWithCode(3), "DEVICE_LOST kernel .* was made to fail") << fault;
  EXPECT_EXIT(lose("early", "0.attention"), testing::ExitedWithCode(3), "DEVICE_LOST kernel attention was made to fail");
}

TEST_F(SeveralDevices, AGradientThatIsNotFiniteSkipsTheStepOfAllDevices) {
  const auto trainer = session(processor, 4);
  run(*trainer, segment(0, 1));
  change_state(*trainer, [](TrainState& state) { state.params()[5] = NAN; });
  StepReport report;
  const std::atomic<bool> cancel{false};
  trainer->run_segment(segment(1, 1), [&](const StepReport& r) { report = r; }, cancel);
  EXPECT_TRUE(report.skipped) << "a gradient that is not finite is seen, whatever device made it";
  change_state(*trainer, [](TrainState& state) { state.params()[5] = 0; });
  trainer->run_segment(segment(2, 1), [&](const StepReport& r) { report = r; }, cancel);
  EXPECT_FALSE(report.skipped);
}

TEST_F(SeveralDevices, AsManyTakePartAsDivideTheShards) {
  const auto at_work = [&](int64_t shards, int count, bool own = false) {
    options.micro_shards = shards;
    give_devices(options, processor, count);
    return devices_at_work(options, own);
  };
  EXPECT_EQ(at_work(1, 4), 1);
  EXPECT_EQ(at_work(4, 4), 4);
  EXPECT_EQ(at_work(6, 4), 2);
  EXPECT_EQ(at_work(8, 3), 2);
  EXPECT_EQ(at_work(16, 8), 8);
  EXPECT_EQ(at_work(4, 4, true), 1) << "own weights have one place for their gradients";
}

TEST_F(SeveralDevices, ThePlanKnowsThem) {
  const auto planned = [&](const DeviceOf& device, int count) {
    give_devices(options, device, count);
    return plan_memory(model->config(), model->bytes(), LoraSpec{}, options);
  };
  const MemoryPlan one = planned(processor, 1), four = planned(processor, 4);
  EXPECT_EQ(four.activations, 4 * one.activations) << "of one machine";
  EXPECT_EQ(four.weights, one.weights);
  EXPECT_GT(four.total, one.total + 3 * one.activations);
  EXPECT_EQ(std::pair(four.devices, four.devices_there), std::pair(int64_t{4}, int64_t{4}));
  const MemoryPlan card_alone = planned(card("early"), 1), cards = planned(card("early"), 4);
  EXPECT_EQ(cards.total, card_alone.total) << "of each card";
  EXPECT_EQ(cards.host, card_alone.host);
  options.stream_weights = true;
  EXPECT_GT(planned(card("early"), 4).host, planned(card("early"), 1).host) << "each has pinned weights of its own";
  options.micro_shards = 2;
  const MemoryPlan idle = planned(processor, 4);
  EXPECT_EQ(std::pair(idle.devices, idle.devices_there), std::pair(int64_t{2}, int64_t{4}));
}

TEST_F(SeveralDevices, AreNamedTogetherAndMustBeAlike) {
  const auto refusal = [](const char* text) -> std::string {
    try {
      parse_devices(text, 1);
      return "";
    } catch (const Error& error) {
      EXPECT_EQ(error.field(), "device");
      return error.what();
    }
  };
  const std::vector<BackendSpec> cards = parse_devices("emulated+emulated:2", 0);
  ASSERT_EQ(cards.size(), 2u);
  EXPECT_EQ(cards[1].name, kEmulatedCuda);
  EXPECT_EQ(cards[1].device, 2);
  EXPECT_EQ(parse_devices("cpu+cpu+cpu", 2)[2].threads, 2) << "of each";
  const int cores = describe_device(parse_device("cpu", 0)).threads;
  EXPECT_EQ(parse_devices("cpu+cpu", 0)[1].threads, std::max(1, cores / 2)) << "shared out";
  EXPECT_NE(refusal("cpu+emulated").find("must be alike, and emulated is not cpu"), std::string::npos);
  EXPECT_NE(refusal("emulated:1+emulated:1").find("a card can be named once, and emulated:1 is named twice"), std::string::npos);
  EXPECT_NE(refusal("emulated+").find("device must be"), std::string::npos);
  EXPECT_NE(refusal("emulated+emulated:4").find("is not there"), std::string::npos);
}

}  // namespace espalier::test

// Recovery that begins with a refit of o_proj and down_proj.
#include "training/refit.h"

#include "cuda_emulator/emulated_kind.h"
#include "espalier/base/error.h"
#include "espalier/method/batch_order.h"
#include "espalier/training/memory_plan.h"
#include "files/reference_forward.h"
#include "files/small_models.h"
#include "files/test_files.h"
#include "hidden_memory/hidden_memory_backend.h"
#include "method/masks/masks.h"
#include "step/step_helpers.h"
#include "training/own_weights.h"
#include "training/trainer_impl.h"

namespace espalier::test {

namespace {

constexpr int64_t kFirstStep = 5, kRefitTokens = 24, kBatch = 2;

SegmentPlan recovery(int64_t first, int64_t count, double rate = 1e-3) {
  SegmentPlan plan;
  plan.seed = 3;
  plan.train_masks = false;
  plan.moments_from_step = kFirstStep;
  plan.losses = {1.0, 0.1, 0.0, 1.0};
  for (int64_t s = first; s < first + count; s++) {
    plan.lora_learning_rate.push_back(rate);
    plan.scheduled_sparsity.push_back(0.5);
  }
  return plan;
}

}  // namespace

class Refitted : public testing::Test {
 protected:
  std::shared_ptr<const ModelWeights> model = load_model(tiny_model());
  const ModelConfig& config() const { return model->config(); }
  std::shared_ptr<const TokenData> text = random_tokens(config().vocab_size, kRefitTokens * 31);
  TrainerOptions options = [] {
    TrainerOptions o;
    o.dtype = ComputeDType::kF32;
    o.batch_size = kBatch;
    o.sequence_length = kRefitTokens;
    o.backend.threads = 2;
    o.recover_refit_batches = 3;
    return o;
  }();
  LoraSpec lora;
  bool own_weights = false;  // the student's own weights learn in place of LoRA

  // Makes a state at the end of pruning: its LoRA has learned something, and many of its masks are closed and some are in between.
  TrainState pruned() const {
    TrainState state(config(), lora);
    state.initialise(11);
    for (int64_t i = 0; i < state.lora_size(); i++) state.params()[i] += static_cast<float>(0.02 * random_normal(6, 0, 1, i));
    loosen_masks(state);
    state.step = kFirstStep;
    return state;
  }
  std::unique_ptr<TrainerImpl> session() const {
    const TrainState state = own_weights ? with_own_weights(*model, pruned()) : pruned();
    TrainerOptions with = options;
    if (own_weights) with.recover_weights = RecoverWeights::kAll;
    auto trainer = std::make_unique<TrainerImpl>(model, state, with);
    trainer->import_state(state);
    trainer->set_data(text);
    return trainer;
  }
  Masks masks() const { return deterministic_masks(config(), pruned()); }
  std::string digest_after(const SegmentPlan& plan) const {
    const auto trainer = session();
    run(*trainer, plan);
    return digest_of(*trainer);
  }
  std::vector<RefittedProjection> refit(int64_t rank = 8) {
    lora.rank = rank;
    const auto trainer = session();
    run(*trainer, recovery(kFirstStep, 1, 0));
    return trainer->last_refit()->projections;
  }
};

TEST_F(Refitted, TheErrorOfEveryProjectionFalls) {
  for (const ComputeDType dtype : {ComputeDType::kF32, ComputeDType::kBF16}) {
    options.dtype = dtype;
    const auto projections = refit();
    ASSERT_EQ(projections.size(), 2 * static_cast<size_t>(config().layer_count));
    for (const RefittedProjection& p : projections) EXPECT_LT(p.error_after, p.error_before) << p.layer << " " << p.projection;
  }
}

TEST_F(Refitted, AHigherRankLeavesLessOfTheFirstError) {
  double before = INFINITY;
  for (const int64_t rank : {1, 4, 16, 64}) {
    const double error = refit(rank).front().error_after;
    EXPECT_LT(error, before);
    before = error;
  }
}

TEST_F(Refitted, TheErrorsAreThoseOfAPlainForwardPass) {
  const auto trainer = session();
  run(*trainer, recovery(kFirstStep, 1, 0));
  ASSERT_TRUE(trainer->last_refit()->kept);
  const TrainState after = trainer->export_state();
  const Masks student = masks(), open;
  std::vector<double> errors(static_cast<size_t>(config().layer_count), 0.0);
  for (int64_t batch = 0; batch < options.recover_refit_batches; batch++)
    for (const int64_t row : batch_rows(3, kFirstStep + batch, kBatch, 31)) {
      const std::span ids(text->ids.data() + row * kRefitTokens, kRefitTokens);
      std::vector<Rows> is, should;
      ReferenceForward(*model, &after, student).logits(ids, is);
      ReferenceForward(*model, nullptr, open).logits(ids, should);
      for (size_t l = 0; l < errors.size(); l++)
        for (int64_t t = 0; t < kRefitTokens; t++)
          for (int64_t j = 0; j < config().hidden_size; j++)
            if (student.hidden[j] != 0.0f) errors[l] += (is[l][t][j] - should[l][t][j]) * (is[l][t][j] - should[l][t][j]);
    }
  for (const RefittedProjection& p : trainer->last_refit()->projections)
    if (p.projection == kDown) EXPECT_NEAR(p.error_after / errors[p.layer], 1, 1e-3) << p.layer;
}

TEST_F(Refitted, TheStudentLosesLessOnTheText) {
  options.recover_refit_batches = 1;  // the batch of the first step
  const auto loss = [&] {
    const auto trainer = session();
    double layer_loss = 0;
    const std::atomic<bool> cancel{false};
    trainer->run_segment(recovery(kFirstStep, 1), [&](const StepReport& r) { layer_loss = r.layer_loss; }, cancel);
    return layer_loss;
  };
  const double with = loss();
  options.recover_refit_batches = 0;
  EXPECT_LT(with, 0.9 * loss());
}

TEST_F(Refitted, WhatDoesNotHelpTheLossOfThePhaseIsNotKept) {
  SegmentPlan plan = recovery(kFirstStep, 1, 0);
  plan.losses = {0.0, 0.0, 1.0, 1.0};  // only the loss of words that can't be guessed counts
  for (uint64_t seed = 0; seed < 8; seed++) {
    plan.seed = seed;
    const auto trainer = session();
    run(*trainer, plan);
    const RefitReport& report = *trainer->last_refit();
    EXPECT_EQ(report.kept, report.loss_after < report.loss_before);
    const TrainState before = pruned(), after = trainer->export_state();
    EXPECT_EQ(report.kept, !std::equal(before.params().begin(), before.params().end(), after.params().begin()));
  }
}

// The refit is kept or dropped by losses. They must equal those of steps to the bit, and no gradients are computed for them.
TEST_F(Refitted, ItsLossesAreThoseOfStepsWithoutTheirWayBack) {
  options.backend.name = kHiddenMemory;
  for (const int64_t shards : {1, 2}) {
    options.micro_shards = shards;
    options.recover_refit_batches = 1;
    SegmentPlan plan = recovery(kFirstStep, 1);
    plan.losses = {1.0, 0.1, 0.3, 1.0};
    double step_loss = 0;
    const std::atomic<bool> cancel{false};
    const auto note = [&](const StepReport& r) { step_loss = r.loss; };
    const auto trainer = session();
    const int64_t passes = backward_passes();
    trainer->run_segment(plan, note, cancel);
    EXPECT_EQ(backward_passes() - passes, shards * config().layer_count) << "those of the one step";
    const RefitReport report = *trainer->last_refit();
    EXPECT_EQ(step_loss, report.kept ? report.loss_after : report.loss_before);
    options.recover_refit_batches = 0;
    const auto without = session();
    without->run_segment(plan, note, cancel);
    EXPECT_EQ(step_loss, report.loss_before);
    EXPECT_FALSE(without->last_refit().has_value());
  }
}

TEST_F(Refitted, OnlyFactorsOfTheTwoProjectionsChangeAndWhatIsClosedGetsNone) {
  const auto trainer = session();
  run(*trainer, recovery(kFirstStep, 1, 0));
  const TrainState before = pruned(), after = trainer->export_state();
  const Masks z = masks();
  for (const TrainState::Entry& e : before.entries()) {
    const auto was = before.view(e), is = after.view(e);
    const bool refitted = e.name.find("o_proj") != std::string::npos || e.name.find("down_proj") != std::string::npos;
    EXPECT_EQ(refitted, !std::equal(was.begin(), was.end(), is.begin())) << e.name;
    if (!refitted || !e.name.ends_with("lora_B")) continue;
    for (int64_t j = 0; j < config().hidden_size; j++)
      for (int64_t k = 0; k < 8; k++) EXPECT_EQ(z.hidden[j] == 0.0f, is[j * 8 + k] == 0.0f) << e.name;
  }
}

TEST_F(Refitted, WhatIsComputedClosedTooIsTheSameButForRounding) {
  const auto sparse = refit();
  options.exact_sparse = false;
  const auto dense = refit();
  ASSERT_EQ(sparse.size(), dense.size());
  for (size_t i = 0; i < sparse.size(); i++) EXPECT_NEAR(dense[i].error_after / sparse[i].error_after, 1, 1e-3);
}

TEST_F(Refitted, IsTheSameHoweverStepsAreCutAndMemoryIsSaved) {
  const std::string whole = digest_after(recovery(kFirstStep, 3));
  const auto trainer = session();
  run(*trainer, recovery(kFirstStep, 1));
  const auto bytes = trainer->serialize();
  trainer->import_state(TrainState::deserialize(bytes, config(), lora));
  run(*trainer, recovery(kFirstStep + 1, 2));
  EXPECT_EQ(digest_of(*trainer), whole);
  options.checkpoint_activations = true;
  EXPECT_EQ(digest_after(recovery(kFirstStep, 3)), whole);
  options.recover_refit_batches = 0;
  EXPECT_NE(digest_after(recovery(kFirstStep, 3)), whole);
}

TEST_F(Refitted, OwnWeightsAreFittedAtFullRankInTheTwoProjectionsAlone) {
  const double lora_error = refit()[0].error_after;
  own_weights = true;
  const TrainState before = with_own_weights(*model, pruned());
  const auto trainer = session();
  run(*trainer, recovery(kFirstStep, 1, 0));
  const RefitReport& report = *trainer->last_refit();
  EXPECT_TRUE(report.kept);
  EXPECT_LT(report.loss_after, report.loss_before);
  EXPECT_LT(report.projections[0].error_after, lora_error);
  for (const RefittedProjection& p : report.projections) EXPECT_LT(p.error_after, p.error_before) << p.layer << " " << p.projection;
  const TrainState after = trainer->export_state();
  for (const TrainState::Entry& e : before.entries()) {
    const auto was = before.view(e), is = after.view(e);
    const bool refitted = e.name.find("o_proj") != std::string::npos || e.name.find("down_proj") != std::string::npos;
    EXPECT_EQ(refitted, !std::equal(was.begin(), was.end(), is.begin())) << e.name;
  }
}

TEST_F(Refitted, OwnWeightsAreTheSameHoweverStepsAreCutAndOnADeviceWithMemoryOfItsOwn) {
  own_weights = true;
  const std::string whole = digest_after(recovery(kFirstStep, 3));
  const auto trainer = session();
  run(*trainer, recovery(kFirstStep, 1));
  trainer->import_state(trainer->export_state());
  run(*trainer, recovery(kFirstStep + 1, 2));
  EXPECT_EQ(digest_of(*trainer), whole);
  options.backend.name = kHiddenMemory;
  EXPECT_EQ(digest_after(recovery(kFirstStep, 3)), whole);
}

TEST_F(Refitted, OwnWeightsAreAsTheyWereAfterACancel) {
  own_weights = true;
  const std::string before = digest_of(*session());
  const auto trainer = session();
  std::atomic<bool> cancel{false};
  SegmentPlan plan = recovery(kFirstStep, 1);
  plan.on_calibrated = [&](double) { cancel = true; };
  EXPECT_EQ(trainer->run_segment(plan, nullptr, cancel), 0);
  EXPECT_EQ(digest_of(*trainer), before);
}

TEST_F(Refitted, StepsOfPruningHaveNone) {
  SegmentPlan pruning = recovery(kFirstStep, 2);
  pruning.train_masks = true;
  const std::string with = digest_after(pruning);
  options.recover_refit_batches = 0;
  EXPECT_EQ(digest_after(pruning), with);
}

TEST_F(Refitted, ACancelOnTheWayLeavesTheStateAsItWas) {
  const std::string before = digest_of(*session()), whole = digest_after(recovery(kFirstStep, 3));
  for (const double from : {0.0, 1.0}) {
    const auto trainer = session();
    std::atomic<bool> cancel{false};
    SegmentPlan plan = recovery(kFirstStep, 3);
    plan.on_calibrated = [&](double share) { cancel = share >= from; };
    EXPECT_EQ(trainer->run_segment(plan, nullptr, cancel), 0);
    EXPECT_EQ(digest_of(*trainer), before);
    run(*trainer, recovery(kFirstStep, 3));
    EXPECT_EQ(digest_of(*trainer), whole);
  }
}

TEST_F(Refitted, ADeviceWithMemoryOfItsOwnHasTheSameBits) {
  for (const int64_t shards : {1, 2})
    for (const bool stream : {false, true}) {
      options.micro_shards = shards;
      options.stream_weights = stream;
      options.backend.name = "cpu";
      const std::string host = digest_after(recovery(kFirstStep, 2));
      options.backend.name = kHiddenMemory;
      EXPECT_EQ(digest_after(recovery(kFirstStep, 2)), host);
    }
}

TEST_F(Refitted, OnACardItIsWhatItIsOnTheHostHoweverItsQueuesRun) {
  model = light_model();
  text = random_tokens(config().vocab_size, kRefitTokens * 31);
  options.batch_size = 1;
  options.recover_refit_batches = 1;
  const auto host = refit();
  std::string early;
  for (const char* behaviour : {"early", "late"}) {
    options.backend = emulated_card(behaviour);
    const auto trainer = session();
    run(*trainer, recovery(kFirstStep, 1, 0));
    for (size_t i = 0; i < host.size(); i++) EXPECT_NEAR(trainer->last_refit()->projections[i].error_after / host[i].error_after, 1, 1e-2);
    if (early.empty()) early = digest_of(*trainer);
    EXPECT_EQ(digest_of(*trainer), early);
  }
}

TEST_F(Refitted, ModelsWithHeadNormsAndGroupedQueriesAreRefitted) {
  for (const SmallKind& kind : small_kinds()) {
    if (parse_small(kind.config).post_norms) continue;
    model = small_model(kind.config);
    text = random_tokens(config().vocab_size, kRefitTokens * 31);
    const auto trainer = session();
    run(*trainer, recovery(kFirstStep, 1, 0));
    for (const RefittedProjection& p : trainer->last_refit()->projections) EXPECT_LT(p.error_after, p.error_before) << kind.name;
  }
}

// In this model a norm lies between the projection and the stream that the refit corrects.
TEST_F(Refitted, AModelWithNormsBehindItsBlocksIsRefused) {
  model = small_model({{"architectures", {"Olmo2ForCausalLM"}}});
  expect_error(ErrorCode::kNotSupported, "recover_refit_batches", "norms behind attention and MLP", [&] { session(); });
}

TEST_F(Refitted, LoraWithoutTheTwoProjectionsIsRefused) {
  for (const Projection missing : {kO, kDown}) {
    lora.targets.fill(true);
    lora.targets[missing] = false;
    try {
      session();
      FAIL() << "no error";
    } catch (const Error& e) {
      EXPECT_EQ(e.field(), "recover_refit_batches");
    }
  }
}

TEST_F(Refitted, ThePlanCountsItsMemory) {
  const auto planned = [&](int64_t batches) {
    options.recover_refit_batches = batches;
    return plan_memory(config(), model->bytes(), lora, options).total;
  };
  const uint64_t without = planned(0), some = planned(1), more = planned(11);
  EXPECT_GT(some, without);
  EXPECT_EQ(more - some, 10u * kBatch * kRefitTokens * 2 * static_cast<uint64_t>(padded_width(config().hidden_size)) * sizeof(float));
}

}  // namespace espalier::test

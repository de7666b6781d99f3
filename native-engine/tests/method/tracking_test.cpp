// Sparsity control by tracking, against its definition and in whole runs on a small model.
#include "method/sparsity/tracking.h"

#include "files/small_models.h"
#include "method/masks/hard_concrete.h"
#include "method/masks/masks.h"
#include "method/sparsity/sparsity.h"
#include "step/step_helpers.h"

namespace espalier::test {

class Tracking : public testing::Test {
 protected:
  std::shared_ptr<const ModelWeights> model = light_model();
  const ModelConfig& config = model->config();
  TrainState state{config, LoraSpec{}};
  std::span<float> masks() { return state.params().subspan(state.lora_size()); }

  // Loosens the masks, then moves each log-alpha up or down by at most a quarter, as AdamW might do.
  std::vector<float> move() {
    state.initialise(4);
    loosen_masks(state);
    std::vector<float> before(masks().begin(), masks().end());
    for (size_t i = 0; i < before.size(); i++)
      masks()[i] += static_cast<float>(0.5 * random_uniform(8, 0, 1, static_cast<int64_t>(i)) - 0.25);
    return before;
  }

  std::unique_ptr<Trainer> session() const {
    TrainerOptions options;
    options.batch_size = 1;
    options.sequence_length = 16;
    options.backend.threads = 1;
    auto trainer = Trainer::create(model, LoraSpec{}, options);
    change_state(*trainer, [](TrainState& fresh) { fresh.initialise(11); });
    trainer->set_data(random_tokens(config.vocab_size, 16 * 31));
    return trainer;
  }

  static SegmentPlan tracked(int64_t first, int64_t count, double target, int64_t warm_up) {
    SegmentPlan plan = segment(first, count);
    plan.sparsity_control = SparsityControl::kTracking;
    plan.mask_learning_rate = 0.4;
    plan.lambda_learning_rate = 0.02;
    for (int64_t i = 0; i < count; i++)
      plan.scheduled_sparsity[i] = target * std::min(1.0, static_cast<double>(first + i) / static_cast<double>(warm_up));
    return plan;
  }
};

TEST_F(Tracking, LengthensWhatClosesAndShortensWhatOpensByOneFactor) {
  for (const double change : {0.02, -0.02}) {
    const std::vector<float> before = move(), moved(masks().begin(), masks().end());
    const double wanted = expected_sparsity(config, state) + change;
    const double tilt = tilt_moves(config, state.shape, state, before, masks(), wanted);
    EXPECT_EQ(tilt > 0, change > 0);
    EXPECT_LT(std::abs(tilt), kTiltLimit);
    EXPECT_GE(expected_sparsity(config, state), wanted) << "a target must count as reached";
    EXPECT_NEAR(expected_sparsity(config, state), wanted, 2e-6);
    for (size_t i = 0; i < before.size(); i++) {
      const double whole = static_cast<double>(moved[i]) - before[i];
      const double expected = before[i] + whole * std::exp(std::min(whole < 0 ? tilt : -tilt, kSpeedUp));
      EXPECT_FLOAT_EQ(masks()[i], std::clamp(expected, hard_concrete::kMinLogAlpha, hard_concrete::kMaxLogAlpha)) << i;
    }
  }
}

TEST_F(Tracking, ComesAsNearAsTheLimitLetsIt) {
  for (const double wanted : {0.95, 0.0}) {
    const std::vector<float> before = move();
    const double reached = expected_sparsity(config, state);
    EXPECT_EQ(tilt_moves(config, state.shape, state, before, masks(), wanted), wanted > reached ? kTiltLimit : -kTiltLimit);
    EXPECT_EQ(expected_sparsity(config, state) > reached, wanted > reached);
  }
}

TEST_F(Tracking, LeavesMasksThatNothingMoves) {
  move();
  const std::vector<float> before(masks().begin(), masks().end());
  tilt_moves(config, state.shape, state, before, masks(), 0.9);
  EXPECT_TRUE(std::equal(before.begin(), before.end(), masks().begin()));
}

TEST_F(Tracking, ThePriceFollowsTheTilt) {
  const Masks loss{{3.0f, 0.0f}, {4.0f}, {0.0f}}, sparsity{{0.0f, -0.5f}, {0.0f}, {0.0f}};
  EXPECT_DOUBLE_EQ(starting_price(loss, sparsity), -0.1);
  EXPECT_EQ(starting_price(loss, {{0.0f, 0.0f}, {0.0f}, {0.0f}}), 0.0);
  EXPECT_LT(starting_price({{0.0f, 0.0f}, {0.0f}, {0.0f}}, sparsity), 0.0) << "where no gate has a gradient, the price moves the masks";
  EXPECT_DOUBLE_EQ(next_price(-2.0, 0.0, 0.1), -2.0);
  EXPECT_DOUBLE_EQ(next_price(-2.0, 1.0, 0.1), -2.0 * std::exp(0.1)) << "too open: dearer";
  EXPECT_DOUBLE_EQ(next_price(-2.0, -1.0, 0.1), -2.0 * std::exp(-0.1)) << "too sparse: cheaper";
  EXPECT_DOUBLE_EQ(next_price(-2.0, 7.0, 0.1), -2.0 * std::exp(0.2)) << "no faster than moves grow";
  EXPECT_DOUBLE_EQ(next_price(-2.0, kTiltLimit, 0.1), -2.0 * std::exp(1.0)) << "far too cheap: catches up";
}

TEST_F(Tracking, KeepsToTheScheduleFromStepToStep) {
  for (const double target : {0.1, 0.3, 0.5, 0.8}) {
    const auto trainer = session();
    double furthest = 0;
    const std::atomic<bool> cancel{false};
    trainer->run_segment(
        tracked(0, 100, target, 30),
        [&](const StepReport& r) {
          EXPECT_LT(r.expected_sparsity, target + 0.005) << "no swing beyond the target, step " << r.step;
          if (r.step >= 40) furthest = std::max(furthest, std::abs(r.expected_sparsity - r.scheduled_sparsity));
        },
        cancel);
    EXPECT_LT(furthest, 1e-3) << target;
    EXPECT_GE(hard_sparsity(config, trainer->log_alphas()).expected_sparsity, target);
  }
}

// With so little noise no gate has a gradient in the first steps.
TEST_F(Tracking, KeepsToTheScheduleWithLittleNoise) {
  for (const double noise : {0.3, 0.05}) {
    const auto trainer = session();
    SegmentPlan plan = tracked(0, 100, 0.5, 30);
    plan.mask_noise = noise;
    run(*trainer, plan);
    EXPECT_NEAR(expected_sparsity(config, trainer->log_alphas()), 0.5, 1e-3) << noise;
  }
}

TEST_F(Tracking, TakesUpAStateOfTheMultipliersAndAnotherTarget) {
  const auto trainer = session();
  change_state(*trainer, [](TrainState& overshot) {
    loosen_masks(overshot);
    overshot.lambda = {3.0, 40.0};
  });
  for (const double target : {0.6, 0.2, 0.5}) {
    run(*trainer, tracked(trainer->step(), 100, target, 1));
    EXPECT_NEAR(expected_sparsity(config, trainer->log_alphas()), target, 1e-3);
    const TrainState after = trainer->export_state();
    EXPECT_LT(after.lambda[0], 0.0);
    EXPECT_EQ(after.lambda[1], 40.0) << "no part of it";
  }
}

TEST_F(Tracking, SegmentsMayBeCutAnywhere) {
  const auto whole = session(), cut = session();
  run(*whole, tracked(0, 20, 0.5, 10));
  run(*cut, tracked(0, 7, 0.5, 10));
  run(*cut, tracked(7, 13, 0.5, 10));
  EXPECT_EQ(digest_of(*whole), digest_of(*cut));
}

TEST_F(Tracking, ASkippedStepLeavesThePrice) {
  const auto trainer = session();
  change_state(*trainer, [](TrainState& broken) { broken.params()[0] = std::numeric_limits<float>::quiet_NaN(); });
  run(*trainer, tracked(0, 1, 0.5, 10));
  const TrainState after = trainer->export_state();
  EXPECT_EQ(after.lambda[0], 0.0);
  EXPECT_EQ(after.step, 1);
}

}  // namespace espalier::test

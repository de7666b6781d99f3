// Dropout of LoRA's inputs in whole steps: its gradient is the gradient of the loss, and only seed, step, projection, row and column decide
// what is dropped.
#include "espalier/base/error.h"
#include "files/small_models.h"
#include "step/step_helpers.h"

namespace espalier::test {

class Dropout : public testing::Test {
 protected:
  std::shared_ptr<const ModelWeights> model = light_model();

  std::unique_ptr<Trainer> session(const std::function<void(TrainerOptions&)>& with = nullptr) {
    TrainerOptions options;
    options.dtype = ComputeDType::kF32;
    options.recover_lora_dropout = 0.3;
    if (with) with(options);
    auto trainer = tiny_session(options, model);
    change_state(*trainer, [](TrainState& state) {
      for (int64_t i = 0; i < state.lora_size(); i++) state.params()[i] += static_cast<float>(0.05 * random_normal(6, 0, 1, i));
      loosen_masks(state);
    });
    return trainer;
  }

  static SegmentPlan recovery(int64_t first, int64_t count) {
    SegmentPlan plan = segment(first, count);
    plan.losses = {0.0, 0.0, 1.0, 1.0};
    plan.train_masks = false;
    plan.gradient_clip_norm = 0;
    return plan;
  }

  // The loss of a step that changes no parameter, and its gradient, which is ten times the first moment.
  struct Slope {
    double loss = 0;
    std::vector<double> gradient;
  };
  static Slope slope(Trainer& trainer) {
    SegmentPlan plan = recovery(0, 1);
    plan.lora_learning_rate = {0.0};
    const TrainState before = trainer.export_state();
    Slope out;
    const std::atomic<bool> cancel{false};
    trainer.run_segment(plan, [&](const StepReport& r) { out.loss = r.lm_loss; }, cancel);
    const TrainState after = trainer.export_state();
    for (int64_t i = 0; i < after.lora_size(); i++) out.gradient.push_back(10.0 * after.adam_m()[i]);
    trainer.import_state(before);
    return out;
  }

  static double difference(const std::vector<double>& a, const std::vector<double>& b) {
    double between = 0, size = 0;
    for (size_t i = 0; i < b.size(); i++) {
      between += (a[i] - b[i]) * (a[i] - b[i]);
      size += b[i] * b[i];
    }
    return std::sqrt(between / size);
  }
};

TEST_F(Dropout, TheGradientIsThatOfTheLoss) {
  const auto trainer = session();
  const Slope at = slope(*trainer);
  double squares = 0;
  for (const double g : at.gradient) squares += g * g;
  ASSERT_GT(squares, 0);
  const auto moved = [&](double distance) {
    const TrainState before = trainer->export_state();
    change_state(*trainer, [&](TrainState& state) {
      for (int64_t i = 0; i < state.lora_size(); i++)
        state.params()[i] += static_cast<float>(distance / std::sqrt(squares) * at.gradient[i]);
    });
    const double loss = slope(*trainer).loss;
    trainer->import_state(before);
    return loss;
  };
  constexpr double kDistance = 2e-2;
  const double expected = std::sqrt(squares), found = (moved(kDistance) - moved(-kDistance)) / (2 * kDistance);
  EXPECT_NEAR(found / expected, 1.0, 2e-3);
}

TEST_F(Dropout, DropsTheSameInShardsAndWithClosedUnitsComputed) {
  const auto plain = session(), shards = session([](TrainerOptions& o) { o.micro_shards = 2; }),
             dense = session([](TrainerOptions& o) { o.exact_sparse = false; }),
             recomputed = session([](TrainerOptions& o) { o.checkpoint_activations = true; }),
             without = session([](TrainerOptions& o) { o.recover_lora_dropout = 0; });
  const Slope of_plain = slope(*plain), of_recomputed = slope(*recomputed);
  EXPECT_LT(difference(slope(*shards).gradient, of_plain.gradient), 1e-4);
  EXPECT_LT(difference(slope(*dense).gradient, of_plain.gradient), 1e-4);
  EXPECT_EQ(of_recomputed.gradient, of_plain.gradient);
  EXPECT_GT(difference(slope(*without).gradient, of_plain.gradient), 0.05);
}

TEST_F(Dropout, AgreesOnEveryDevice) {
  const Slope expected = slope(*session());
  int devices = 0;
  for (const DeviceDescription& device : list_devices()) {
    if (!device.problem.empty() || device.name == "cpu" || device.name.starts_with("emulated:")) continue;  // skips all cards but the first
    const Slope found = slope(*session([&](TrainerOptions& o) { o.backend = parse_device(device.name, 2); }));
    EXPECT_NEAR(found.loss, expected.loss, 1e-4) << device.name;
    EXPECT_LT(difference(found.gradient, expected.gradient), 1e-4) << device.name;
    devices++;
  }
  EXPECT_GT(devices, 0) << "the emulated card at least";
}

TEST_F(Dropout, StepsMayBeCutAnywhereAndResumed) {
  for (const ComputeDType dtype : {ComputeDType::kF32, ComputeDType::kBF16}) {
    const auto in_dtype = [&](TrainerOptions& o) { o.dtype = dtype; };
    const auto whole = session(in_dtype), cut = session(in_dtype), resumed = session(in_dtype);
    run(*whole, recovery(0, 6));
    run(*cut, recovery(0, 1));
    run(*cut, recovery(1, 3));
    resumed->import_state(StateReader(cut->serialize(), model->config(), LoraSpec{}));
    run(*resumed, recovery(4, 2));
    EXPECT_EQ(digest_of(*whole), digest_of(*resumed));
  }
}

TEST_F(Dropout, StepsThatTrainMasksDropNothing) {
  const auto with = session(), without = session([](TrainerOptions& o) { o.recover_lora_dropout = 0; });
  run(*with, segment(0, 3));
  run(*without, segment(0, 3));
  EXPECT_EQ(digest_of(*with), digest_of(*without));
}

TEST_F(Dropout, IsRefusedWhereItMakesNoSense) {
  for (const double dropout : {1.0, -0.1}) {
    try {
      session([&](TrainerOptions& o) { o.recover_lora_dropout = dropout; });
      ADD_FAILURE() << dropout;
    } catch (const Error& error) {
      EXPECT_EQ(error.field(), "recover_lora_dropout");
    }
  }
}

}  // namespace espalier::test

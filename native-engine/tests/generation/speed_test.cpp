// How speed is reported: medians with their intervals. Rounds go on until the intervals are narrow or the requested number is reached.
#include "espalier/generation/speed.h"

#include "files/test_files.h"
#include "method/philox.h"
#include "step/step_helpers.h"

namespace espalier::test {

TEST(MedianIntervals, AreOrderStatistics) {
  std::vector<double> values;
  for (int i = 1; i <= 101; i++) values.push_back((i * 37) % 101 + 1);
  const MedianInterval interval = median_interval(values);
  EXPECT_EQ(interval.median, 51);
  EXPECT_EQ(interval.low, 41);
  EXPECT_EQ(interval.high, 61);
  EXPECT_EQ(median_interval({3, 1}).median, 2);
  EXPECT_EQ(median_interval({3, 1}).low, 1);
  EXPECT_EQ(median_interval({3, 1}).high, 3);
}

// An interval of about 95%, computed for 400 samples of 25 values, must hold the true median.
TEST(MedianIntervals, HoldTheTrueMedianInNineteenOfTwentyCases) {
  int holds = 0;
  for (uint64_t sample = 0; sample < 400; sample++) {
    std::vector<double> values;
    for (int64_t i = 0; i < 25; i++) values.push_back(std::exp(random_normal(17, static_cast<int64_t>(sample), 1, i)));
    const MedianInterval interval = median_interval(std::move(values));
    holds += interval.low <= 1 && 1 <= interval.high;
  }
  EXPECT_GE(holds, 370);
  EXPECT_LE(holds, 396);
}

TEST(MeasuredSpeed, TakesTheRoundsThatItIsAskedForAndElseEnough) {
  const std::shared_ptr<const ModelWeights> model = load_model(tiny_model());
  SpeedOptions options;
  options.prompt = 4;
  options.tokens = 2;
  options.rounds = 3;
  options.backend = on_threads(1);
  double share = 0;
  const auto note = [&](double done) {
    EXPECT_GE(done, share);
    EXPECT_LE(done, 1.0);
    share = done;
  };
  const std::atomic<bool> cancel{false};
  const SpeedResult asked = measure_speed({model, model}, options, note, cancel);
  EXPECT_EQ(asked.rounds, 3);
  EXPECT_EQ(share, 1.0);
  options.rounds = 0;
  share = 0;
  const SpeedResult enough = measure_speed({model, model}, options, note, cancel);
  EXPECT_GE(enough.rounds, 5);
  EXPECT_EQ(enough.models[0].pass_ratio.median, 1.0);
  EXPECT_LE(enough.models[1].pass_ratio.low, enough.models[1].pass_ratio.median);
}

}  // namespace espalier::test

// A table of seconds by width: which parts and widths it has, and that the parts add up.
#include <numeric>
#include <set>

#include "espalier/generation/speed.h"
#include "step/step_helpers.h"

namespace espalier::test {

class SpeedTables : public testing::TestWithParam<bool> {
 protected:
  std::shared_ptr<const ModelWeights> model = load_model(tiny_model());
  const ModelConfig& config = model->config();
  std::atomic<bool> cancel{false};
  SpeedTableOptions options;
  SpeedTables() {
    options.decode = GetParam();
    options.context = 12;
    options.sequences = options.decode ? 2 : 1;
    options.rounds = 3;
    options.backend = parse_device("cpu", 1);
  }
};

TEST_P(SpeedTables, HaveEveryPartAtTheIntactWidthAndAddUpToThePass) {
  const SpeedTable table = measure_speed_table(config, options, nullptr, cancel);
  const std::map<std::string, int64_t> widths{{"q", config.head_count},
                                              {"attention", config.head_count},
                                              {"o", config.head_count},
                                              {"kv", config.kv_head_count},
                                              {"gate_up", config.intermediate_size},
                                              {"down", config.intermediate_size},
                                              {"attention_rest", 0},
                                              {"mlp_rest", 0},
                                              {"fixed", 0}};
  std::set<std::tuple<std::string, int64_t, int64_t>> seen;
  double sum = 0;
  for (const PartTime& time : table.times) {
    ASSERT_TRUE(widths.contains(time.part)) << time.part;
    EXPECT_GT(time.seconds, 0) << time.part;
    EXPECT_GE(time.spread, 0) << time.part;
    EXPECT_TRUE(seen.insert({time.part, time.width, time.hidden}).second) << time.part << " " << time.width;
    if (time.hidden == config.hidden_size && time.width == widths.at(time.part))
      sum += time.seconds * (time.part == "fixed" ? 1.0 : static_cast<double>(config.layer_count));
  }
  for (const auto& [part, width] : widths) {
    EXPECT_TRUE(seen.contains({part, width, config.hidden_size})) << part;
    EXPECT_TRUE(seen.contains({part, width, config.hidden_size / 2})) << part;
  }
  EXPECT_NEAR(sum, table.pass_seconds, 1e-9 * sum);
  EXPECT_EQ(table.rounds, 3);
  // The widths of units are eighths of all units.
  const auto narrow = std::count_if(seen.begin(), seen.end(), [&](const auto& one) { return std::get<0>(one) == "down"; });
  EXPECT_EQ(narrow, 8 + 1);
}

TEST_P(SpeedTables, RefuseWhatNoPassCanHave) {
  const auto refused = [&](const char* field) {
    expect_error(ErrorCode::kInvalidArgument, field, "must be from", [&] { measure_speed_table(config, options, nullptr, cancel); });
  };
  options.context = 0;
  refused("context");
  options.context = config.max_positions;
  refused("context");
  options.context = 4;
  options.sequences = 17;
  refused("sequences");
  options.sequences = 1;
  cancel = true;
  expect_error(ErrorCode::kCancelled, "", "cancelled", [&] { measure_speed_table(config, options, nullptr, cancel); });
}

INSTANTIATE_TEST_SUITE_P(Phases, SpeedTables, testing::Bool(), [](const auto& phase) { return phase.param ? "Decode" : "Prefill"; });

}  // namespace espalier::test

// Pruning at once: the gates that it closes, against ratings from a plain forward pass in double.
#include "method/one_shot.h"

#include <functional>
#include <numeric>

#include "espalier/evaluation/unstructured.h"
#include "espalier/method/batch_order.h"
#include "files/number_formats.h"
#include "files/reference_forward.h"
#include "method/masks/masks.h"
#include "method/sparsity/sparsity.h"
#include "step/step_helpers.h"

namespace espalier::test {

namespace {

constexpr int64_t kCalibrationTokens = 24;

SegmentPlan at_once(Importance importance, double sparsity, int64_t sequences = 4) {
  SegmentPlan plan;
  plan.seed = 3;
  plan.lora_learning_rate = {1e-3};
  plan.scheduled_sparsity = {sparsity};
  plan.one_shot = {importance, sequences};
  return plan;
}

double weight(const WeightView& w, int64_t row, int64_t col) { return decode(w.data, w.dtype, row * w.cols + col); }

// Returns the rows that calibration reads.
std::vector<std::vector<uint32_t>> calibration_rows(const TokenData& data, uint64_t seed, int64_t count) {
  const auto rows = static_cast<int64_t>(data.ids.size()) / kCalibrationTokens;
  std::vector<std::vector<uint32_t>> out;
  for (const int64_t row : batch_rows(seed, 0, count, rows))
    out.emplace_back(data.ids.begin() + row * kCalibrationTokens, data.ids.begin() + (row + 1) * kCalibrationTokens);
  return out;
}

std::vector<double> column_squares(const std::vector<std::vector<ReferenceForward::Inputs>>& texts, size_t layer,
                                   Rows ReferenceForward::Inputs::* input) {
  std::vector<double> sums((texts[0][layer].*input)[0].size());
  for (const auto& text : texts)
    for (const auto& values : text[layer].*input)
      for (size_t j = 0; j < sums.size(); j++) sums[j] += values[j] * values[j];
  return sums;
}

std::vector<std::vector<ReferenceForward::Inputs>> inputs_of(const ModelWeights& model, const TokenData& data, int64_t count) {
  const Masks open;
  std::vector<std::vector<ReferenceForward::Inputs>> texts;
  const ReferenceForward forward(model, nullptr, open);
  for (const auto& ids : calibration_rows(data, 3, count)) texts.push_back(forward.inputs(ids));
  return texts;
}

// Expects every open gate of a layer to be rated at least as high as every closed one. Rounding may swap gates whose ratings differ by at
// most the share `slack`.
void expect_least_closed(const std::vector<double>& ratings, const float* masks, int64_t first, int64_t count, double slack) {
  double highest_closed = 0, lowest_open = INFINITY;
  for (int64_t i = first; i < first + count; i++) {
    if (masks[i] == 0.0f)
      highest_closed = std::max(highest_closed, ratings[i]);
    else
      lowest_open = std::min(lowest_open, ratings[i]);
  }
  EXPECT_LE(highest_closed, lowest_open * (1 + slack));
}

}  // namespace

class OneShotPruning : public testing::Test {
 protected:
  std::shared_ptr<const ModelWeights> model = load_model(tiny_model());
  const ModelConfig& config = model->config();
  std::shared_ptr<const TokenData> data = random_tokens(config.vocab_size, kCalibrationTokens * 31);

  std::unique_ptr<Trainer> pruned(const SegmentPlan& plan, std::vector<StepReport>* reports = nullptr) {
    TrainerOptions options;
    options.dtype = ComputeDType::kF32;
    auto trainer = tiny_session(options, model);
    const std::atomic<bool> cancel{false};
    EXPECT_EQ(trainer->run_segment(
                  plan,
                  [&](const StepReport& report) {
                    if (reports) reports->push_back(report);
                  },
                  cancel),
              1);
    return trainer;
  }

  Masks masks_of(Trainer& trainer) { return deterministic_masks(config, trainer.log_alphas()); }

  // Expects that all layers lose the same share, to within one head.
  void expect_even(const HardSparsity& hard, double sparsity) {
    for (const int32_t open : hard.heads_open)
      EXPECT_NEAR(config.head_count - open, sparsity * static_cast<double>(config.head_count), 1.0 + 0.5 * config.head_count);
    EXPECT_EQ(hard.hidden_open, config.hidden_size);
  }

  void expect_ratings(Importance importance, const GateImportance& ratings, double slack) {
    const auto trainer = pruned(at_once(importance, 0.4));
    const Masks masks = masks_of(*trainer);
    for (int64_t l = 0; l < config.layer_count; l++) {
      expect_least_closed(ratings.head, masks.head.data(), l * config.head_count, config.head_count, slack);
      expect_least_closed(ratings.intermediate, masks.intermediate.data(), l * config.intermediate_size, config.intermediate_size, slack);
    }
  }
};

TEST_F(OneShotPruning, ReachesEverySparsityByLessThanTwoUnitsAndLeavesMasksOfExactlyOne) {
  const PrunableSizes sizes = prunable_sizes(config);
  const double unit = sizes.intermediate / (sizes.prunable + sizes.stable);
  for (const double sparsity : {0.0, 0.1, 0.25, 0.5, 0.7}) {
    std::vector<StepReport> reports;
    const auto trainer = pruned(at_once(Importance::kMagnitude, sparsity), &reports);
    const HardSparsity hard = hard_sparsity(config, trainer->log_alphas());
    EXPECT_GE(hard.sparsity, sparsity - 1e-5);
    EXPECT_LT(hard.sparsity, sparsity + 2 * unit);
    EXPECT_GE(hard.expected_sparsity, sparsity);
    EXPECT_NEAR(hard.expected_sparsity, hard.sparsity, 1e-5);
    EXPECT_EQ(hard.hidden_open, config.hidden_size);
    EXPECT_EQ(trainer->step(), 1);
    ASSERT_EQ(reports.size(), 1u);
    EXPECT_EQ(reports[0].expected_sparsity, hard.expected_sparsity);
    EXPECT_TRUE(std::isnan(reports[0].loss));
    const Masks masks = masks_of(*trainer);
    for (const auto* part : {&masks.head, &masks.intermediate, &masks.hidden})
      for (const float z : *part) ASSERT_TRUE(z == 0.0f || z == 1.0f) << z;
  }
}

TEST_F(OneShotPruning, EveryLayerLosesTheSameShare) {
  const auto trainer = pruned(at_once(Importance::kWanda, 0.5));
  const HardSparsity hard = hard_sparsity(config, trainer->log_alphas());
  const PrunableSizes sizes = prunable_sizes(config);
  std::vector<double> lost;
  for (size_t l = 0; l < hard.heads_open.size(); l++)
    lost.push_back(static_cast<double>(config.head_count - hard.heads_open[l]) * sizes.head +
                   static_cast<double>(config.intermediate_size - hard.units_open[l]) * sizes.intermediate);
  const auto [least, most] = std::minmax_element(lost.begin(), lost.end());
  EXPECT_LE(*most - *least, 2 * sizes.intermediate);
}

TEST_F(OneShotPruning, MagnitudeClosesWhatWeighsLeast) {
  GateImportance ratings;
  for (int64_t l = 0; l < config.layer_count; l++) {
    const auto& proj = model->layer(l).proj;
    for (int64_t h = 0; h < config.head_count; h++) {
      double sum = 0;
      for (int64_t r = h * config.head_dim; r < (h + 1) * config.head_dim; r++)
        for (int64_t j = 0; j < config.hidden_size; j++) {
          const bool own = !config.grouped_query();
          for (const double v :
               {weight(proj[kQ], r, j), weight(proj[kO], j, r), own ? weight(proj[kK], r, j) : 0.0, own ? weight(proj[kV], r, j) : 0.0})
            sum += v * v;
        }
      ratings.head.push_back(sum);
    }
    for (int64_t i = 0; i < config.intermediate_size; i++) {
      double sum = 0;
      for (int64_t j = 0; j < config.hidden_size; j++)
        for (const double v : {weight(proj[kGate], i, j), weight(proj[kUp], i, j), weight(proj[kDown], j, i)}) sum += v * v;
      ratings.intermediate.push_back(sum);
    }
  }
  expect_ratings(Importance::kMagnitude, ratings, 0);
}

TEST_F(OneShotPruning, WandaClosesWhatAddsLeastOnTheText) {
  const auto texts = inputs_of(*model, *data, 4);
  GateImportance ratings;
  for (int64_t l = 0; l < config.layer_count; l++) {
    const auto& proj = model->layer(l).proj;
    const auto heads = column_squares(texts, static_cast<size_t>(l), &ReferenceForward::Inputs::o);
    const auto units = column_squares(texts, static_cast<size_t>(l), &ReferenceForward::Inputs::down);
    const auto column = [&](const WeightView& w, int64_t j, double squares) {
      double sum = 0;
      for (int64_t i = 0; i < w.rows; i++) sum += std::abs(weight(w, i, j)) * std::sqrt(squares);
      return sum;
    };
    for (int64_t h = 0; h < config.head_count; h++) {
      double sum = 0;
      for (int64_t j = h * config.head_dim; j < (h + 1) * config.head_dim; j++) sum += column(proj[kO], j, heads[static_cast<size_t>(j)]);
      ratings.head.push_back(sum);
    }
    for (int64_t i = 0; i < config.intermediate_size; i++)
      ratings.intermediate.push_back(column(proj[kDown], i, units[static_cast<size_t>(i)]));
  }
  expect_ratings(Importance::kWanda, ratings, 1e-4);
}

TEST_F(OneShotPruning, TaylorClosesWhatTheLossDependsOnLeast) {
  constexpr double kStep = 1e-4;
  const auto rows = calibration_rows(*data, 3, 2);
  Masks masks{std::vector<float>(config.layer_count * config.head_count, 1.0f),
              std::vector<float>(config.layer_count * config.intermediate_size, 1.0f),
              {}};
  const ReferenceForward forward(*model, nullptr, masks);
  const auto slope = [&](std::vector<float>& part, size_t at) {
    double sum = 0;
    for (const auto& ids : rows) {
      part[at] = static_cast<float>(1 + kStep);
      const double above = forward.negative_log_likelihood(ids), high = part[at];
      part[at] = static_cast<float>(1 - kStep);
      const double below = forward.negative_log_likelihood(ids), low = part[at];
      part[at] = 1.0f;
      sum += std::abs((above - below) / (high - low));
    }
    return sum / static_cast<double>(rows.size());
  };
  const auto trainer = pruned(at_once(Importance::kTaylor, 0.4, 2));
  const Masks closed = masks_of(*trainer);
  GateImportance ratings{std::vector<double>(masks.head.size()), std::vector<double>(masks.intermediate.size())};
  for (size_t h = 0; h < masks.head.size(); h++) ratings.head[h] = slope(masks.head, h);
  for (int64_t l = 0; l < config.layer_count; l++)
    expect_least_closed(ratings.head, closed.head.data(), l * config.head_count, config.head_count, 1e-3);
  // Only a part of one layer's units is tested, because differences in double are slow.
  constexpr int64_t kUnits = 24;
  for (int64_t i = 0; i < kUnits; i++) ratings.intermediate[static_cast<size_t>(i)] = slope(masks.intermediate, static_cast<size_t>(i));
  expect_least_closed(ratings.intermediate, closed.intermediate.data(), 0, kUnits, 1e-3);
}

// Rates all units of layer 0 far below those of the other layers, and one group of heads of layer 1 lowest of all.
TEST_F(OneShotPruning, PartsOfAllLayersCompeteAndHeadsOfOneKeyCloseTogether) {
  const int64_t together = config.head_count / config.kv_head_count;
  ASSERT_GT(together, 1);
  GateImportance ratings{std::vector<double>(config.layer_count * config.head_count, 1e6),
                         std::vector<double>(config.layer_count * config.intermediate_size, 1e3)};
  ratings.over_layers = true;
  for (int64_t i = 0; i < config.intermediate_size; i++) ratings.intermediate[i] = 1.0 + 1e-3 * static_cast<double>(i);
  std::fill_n(ratings.head.begin() + config.head_count, together, 1e-6);
  const BlockGates gates{true, false, true};
  const PrunableSizes sizes = prunable_sizes(config, gates);
  const double all = sizes.prunable + sizes.stable, group = static_cast<double>(together) * sizes.head + sizes.kv,
               mlp = static_cast<double>(config.intermediate_size) * sizes.intermediate;
  const auto closed_at = [&](double cost) { return one_shot_log_alphas(config, {}, gates, ratings, cost / all); };
  const Masks whole = closed_at(group + mlp);
  for (int64_t h = 0; h < config.layer_count * config.head_count; h++)
    EXPECT_EQ(whole.head[h] < 0, h >= config.head_count && h < config.head_count + together) << h;
  EXPECT_LT(whole.kv_group[config.kv_head_count], 0);
  EXPECT_EQ(std::count_if(whole.kv_group.begin(), whole.kv_group.end(), [](float a) { return a < 0; }), 1);
  for (int64_t i = 0; i < config.intermediate_size; i++) EXPECT_LT(whole.intermediate[i], 0);
  EXPECT_LT(whole.mlp[0], 0);  // a block that has lost all of its parts is closed as a whole
  EXPECT_GT(whole.mlp[1], 0);
  const Masks some = closed_at(group + 10 * sizes.intermediate);
  for (int64_t i = 0; i < config.intermediate_size; i++)
    if (i < 10 || i > 10) EXPECT_EQ(some.intermediate[i] < 0, i < 10) << i;  // one more may close, for the rounding of probabilities
  EXPECT_GT(some.mlp[0], 0);
  const Masks units = closed_at(group / 2);  // a group that would overshoot stays
  EXPECT_EQ(std::count_if(units.head.begin(), units.head.end(), [](float a) { return a < 0; }), 0);
}

// Later parts are rated higher, and heads of one key/value head in the opposite order.
TEST_F(OneShotPruning, LayersKeepTheGivenNumbersOfTheirBestRatedParts) {
  const int64_t together = config.head_count / config.kv_head_count, groups = config.kv_head_count, units = config.intermediate_size;
  ASSERT_GE(config.layer_count, 2);
  ASSERT_GT(groups, 1);
  GateImportance ratings{std::vector<double>(config.layer_count * config.head_count), std::vector<double>(config.layer_count * units)};
  for (size_t i = 0; i < ratings.intermediate.size(); i++) ratings.intermediate[i] = static_cast<double>(i);
  for (size_t h = 0; h < ratings.head.size(); h++) ratings.head[h] = 1e3 - static_cast<double>(h);
  std::vector<KeptParts> layers(config.layer_count, {config.head_count, units});
  layers[0] = {together, 5};
  layers[1] = {0, 0};
  const BlockGates gates{.kv_group = true, .attention = true, .mlp = true};
  const Masks found = log_alphas_of_widths(config, gates, ratings, layers);
  const auto open = [](const std::vector<float>& part, int64_t i) { return part[static_cast<size_t>(i)] > 0; };
  for (int64_t h = 0; h < config.head_count; h++) {
    EXPECT_EQ(open(found.head, h), h < together) << h;
    EXPECT_FALSE(open(found.head, config.head_count + h));
  }
  for (int64_t g = 0; g < groups; g++) {
    EXPECT_EQ(open(found.kv_group, g), g == 0) << g;
    EXPECT_FALSE(open(found.kv_group, groups + g));
  }
  for (int64_t i = 0; i < units; i++) EXPECT_EQ(open(found.intermediate, i), i >= units - 5) << i;
  EXPECT_TRUE(open(found.attention, 0) && open(found.mlp, 0) && !open(found.attention, 1) && !open(found.mlp, 1));
  for (int64_t l = 2; l < config.layer_count; l++) EXPECT_TRUE(open(found.attention, l) && open(found.mlp, l));
  for (const float a : found.hidden) EXPECT_GT(a, 0);

  SegmentPlan plan = at_once(Importance::kFisher, 0.5);
  plan.one_shot->layers = layers;
  const auto trainer = pruned(plan);
  const HardSparsity hard = hard_sparsity(config, trainer->log_alphas());
  for (int64_t l = 0; l < config.layer_count; l++) {
    EXPECT_EQ(hard.heads_open[l], layers[l].heads) << l;
    EXPECT_EQ(hard.units_open[l], layers[l].units) << l;
  }

  const auto refused = [&](const std::string& field, std::vector<KeptParts> asked) {
    expect_error(ErrorCode::kInvalidArgument, field, "", [&] { log_alphas_of_widths(config, gates, ratings, asked); });
  };
  refused("one_shot.layers", {layers[0]});
  layers[1].heads = together + 1;
  refused("one_shot.layers[1].heads", layers);
  layers[1] = {0, units + 1};
  refused("one_shot.layers[1].units", layers);
}

// A change of a head is along the head's mask, and one of a unit along its column of down_proj, which LoRA of rank 1 makes longer.
TEST_F(OneShotPruning, FisherComparesHeadsAndUnitsByTheSlopesAlongTheirOutputs) {
  constexpr double kStep = 1e-4;
  constexpr int64_t kHalf = kCalibrationTokens / 2, kUnits = 40;
  auto rows = calibration_rows(*data, 3, 2);
  std::copy_n(rows[1].begin(), kHalf, rows[1].begin() + kHalf);  // each second sequence repeats its first half
  LoraSpec lora;
  lora.rank = 1;
  lora.alpha = 1;
  const StateLayout layout(config, lora);
  TrainState state(layout);
  Masks masks = open_masks(config);
  const ReferenceForward forward(*model, &state, masks);
  const auto loss = [&](size_t row) {
    const Rows logits = forward.logits(rows[row]);
    double sum = 0, count = 0;
    for (int64_t t = 0; t + 1 < kCalibrationTokens; t++) {
      if (row == 1 && t == kHalf - 1) continue;  // the copy does not follow from the first half
      const auto at = static_cast<size_t>(t);
      double all = 0;
      for (const double v : logits[at]) all += std::exp(v);
      sum += std::log(all) - logits[at][rows[row][at + 1]];
      count++;
    }
    return sum / count;
  };
  const auto rating = [&](const std::function<void(float)>& change) {
    const auto up = static_cast<float>(kStep);
    double sum = 0;
    for (size_t row = 0; row < rows.size(); row++) {
      change(up);
      const double above = loss(row);
      change(-up);
      const double below = loss(row), slope = (above - below) / (2 * static_cast<double>(up));
      change(0);
      sum += slope * slope;
    }
    return sum / static_cast<double>(rows.size());
  };
  const auto trainer = pruned(at_once(Importance::kFisher, 0.7, 2));
  const Masks closed = masks_of(*trainer);
  const PrunableSizes sizes = prunable_sizes(config);
  std::vector<double> ratings;  // for each parameter
  std::vector<float> open;
  const int64_t together = config.head_count / config.kv_head_count;
  for (int64_t h = 0; h < config.layer_count * config.head_count; h += together) {
    double sum = 0;
    for (int64_t i = h; i < h + together; i++) sum += rating([&](float by) { masks.head[static_cast<size_t>(i)] = 1.0f + by; });
    ratings.push_back(sum / (static_cast<double>(together) * sizes.head));
    open.push_back(closed.head[static_cast<size_t>(h)]);
  }
  const WeightView& down = model->layer(0).proj[kDown];
  const std::string name = std::string("model.layers.0.") + kProjectionNames[kDown];
  const auto a = state.view(*layout.find(name + ".lora_A")), b = state.view(*layout.find(name + ".lora_B"));
  for (int64_t i = 0; i < kUnits; i++) {
    std::fill(a.begin(), a.end(), 0.0f);
    a[static_cast<size_t>(i)] = 1.0f;
    ratings.push_back(rating([&](float by) {
                        for (int64_t row = 0; row < down.rows; row++)
                          b[static_cast<size_t>(row)] = by * static_cast<float>(weight(down, row, i));
                      }) /
                      sizes.intermediate);
    open.push_back(closed.intermediate[static_cast<size_t>(i)]);
  }
  expect_least_closed(ratings, open.data(), 0, static_cast<int64_t>(open.size()), 1e-2);
  const auto heads = static_cast<std::ptrdiff_t>(config.layer_count * config.kv_head_count);
  EXPECT_GT(std::count(open.begin(), open.begin() + heads, 0.0f), 0);
  EXPECT_LT(std::count(open.begin(), open.begin() + heads, 0.0f), heads);
}

TEST_F(OneShotPruning, FisherReachesEverySparsityByLessThanTwoUnits) {
  const PrunableSizes sizes = prunable_sizes(config);
  const double unit = sizes.intermediate / (sizes.prunable + sizes.stable);
  for (const double sparsity : {0.1, 0.5, 0.7}) {
    const auto trainer = pruned(at_once(Importance::kFisher, sparsity));
    const HardSparsity hard = hard_sparsity(config, trainer->log_alphas());
    EXPECT_GE(hard.sparsity, sparsity - 1e-5);
    EXPECT_LT(hard.sparsity, sparsity + 2 * unit);
    const int64_t together = config.head_count / config.kv_head_count;
    for (const int32_t open : hard.heads_open) EXPECT_EQ(open % together, 0);
  }
}

TEST_F(OneShotPruning, TellsOfItsProgressAndIsTheSameEveryTime) {
  std::vector<double> shares;
  SegmentPlan plan = at_once(Importance::kTaylor, 0.5, 1000);
  plan.on_calibrated = [&](double share) { shares.push_back(share); };
  const std::string digest = digest_of(*pruned(plan));
  EXPECT_EQ(shares.size(), 31u);  // there are 31 sequences, all of which are read
  EXPECT_TRUE(std::is_sorted(shares.begin(), shares.end()));
  EXPECT_EQ(shares.back(), 1.0);
  EXPECT_EQ(digest, digest_of(*pruned(plan)));
  plan.seed = 4;  // all rows are read, so another order changes nothing
  EXPECT_NE(digest_of(*pruned(at_once(Importance::kTaylor, 0.5, 2))), digest);
}

TEST_F(OneShotPruning, LeavesTheStateAsItWasWhenCancelled) {
  TrainerOptions options;
  auto trainer = tiny_session(options, model);
  const std::string before = digest_of(*trainer);
  std::atomic<bool> cancel{false};
  SegmentPlan plan = at_once(Importance::kWanda, 0.5, 8);
  plan.on_calibrated = [&](double) { cancel = true; };
  EXPECT_EQ(trainer->run_segment(plan, nullptr, cancel), 0);
  EXPECT_EQ(digest_of(*trainer), before);
  cancel = false;
  plan.on_calibrated = {};
  run(*trainer, plan);  // nothing is left over from the first time
  auto fresh = tiny_session(options, model);
  run(*fresh, plan);
  EXPECT_EQ(digest_of(*trainer), digest_of(*fresh));
}

TEST_F(OneShotPruning, RefusesWhatHeadsAndUnitsCannotGive) {
  TrainerOptions options;
  auto trainer = tiny_session(options, model);
  const auto refusal = [&](const SegmentPlan& plan) -> std::string {
    try {
      run(*trainer, plan);
    } catch (const Error& error) {
      return error.field();
    }
    return "nothing";
  };
  SegmentPlan two = at_once(Importance::kMagnitude, 0.5);
  two.lora_learning_rate = two.scheduled_sparsity = {0.5, 0.5};
  EXPECT_EQ(refusal(two), "one_shot");
  EXPECT_EQ(refusal(at_once(Importance::kWanda, 0.5, 0)), "one_shot.calibration_sequences");
  EXPECT_EQ(refusal(at_once(Importance::kMagnitude, 1.01)), "scheduled_sparsity");
}

TEST_F(OneShotPruning, SeesEachSequenceByItselfWhateverTheShardsOfAStepAre) {
  for (const Importance importance : {Importance::kWanda, Importance::kTaylor, Importance::kFisher}) {
    std::vector<std::string> digests;
    for (const int64_t shards : {1, 2}) {
      TrainerOptions options;
      options.dtype = ComputeDType::kF32;
      options.micro_shards = shards;
      auto trainer = tiny_session(options, model);
      run(*trainer, at_once(importance, 0.4, 5));
      digests.push_back(digest_of(*trainer));
      run(*trainer, segment(1, 2));  // the shards are the same as before
    }
    EXPECT_EQ(digests[0], digests[1]);
  }
}

// LoRA learns on under masks that were closed at once, as it does in every recovery.
TEST_F(OneShotPruning, RecoveryKeepsTheMasks) {
  TrainerOptions options;
  auto trainer = tiny_session(options, model);
  run(*trainer, at_once(Importance::kWanda, 0.5));
  const Masks before = masks_of(*trainer);
  SegmentPlan recovery = segment(1, 4);
  recovery.train_masks = false;
  recovery.losses = {0.0, 0.0, 1.0, 1.0};
  run(*trainer, recovery);
  EXPECT_EQ(trainer->step(), 5);
  EXPECT_EQ(masks_of(*trainer).intermediate, before.intermediate);
  EXPECT_EQ(masks_of(*trainer).head, before.head);
}

class SingleWeights : public OneShotPruning {
 protected:
  UnstructuredOptions options;
  const std::atomic<bool> cancel{false};

  void SetUp() override {
    options.sparsity = 0.5;
    options.calibration_sequences = 4;
    options.seed = 3;
    options.sequence_length = kCalibrationTokens;
    options.batch_size = 3;  // does not divide 4
    options.dtype = ComputeDType::kF32;
    options.backend.threads = 2;
  }
  std::shared_ptr<const ModelWeights> made() { return unstructured_model(model, data, options, nullptr, cancel); }
};

TEST_F(SingleWeights, MagnitudeTakesTheSmallestOfEachProjection) {
  const auto pruned = made();
  EXPECT_NEAR(zero_share(*pruned), 0.5, 1e-3);
  for (int64_t l = 0; l < config.layer_count; l++)
    for (int p = 0; p < kProjectionCount; p++) {
      const WeightView &from = model->layer(l).proj[p], &to = pruned->layer(l).proj[p];
      double largest_gone = 0, smallest_kept = INFINITY;
      for (int64_t i = 0; i < from.rows * from.cols; i++) {
        const double before = decode(from.data, from.dtype, i), after = decode(to.data, to.dtype, i);
        if (after == 0)
          largest_gone = std::max(largest_gone, std::abs(before));
        else
          ASSERT_EQ(after, before);
        if (after != 0) smallest_kept = std::min(smallest_kept, std::abs(before));
      }
      EXPECT_LE(largest_gone, smallest_kept);
    }
}

// Layer by layer: the inputs are those that the earlier, pruned layers give, and the layer's own weights are still whole.
TEST_F(SingleWeights, WandaTakesFromEachRowTheSmallestTimesTheNormOfTheirInput) {
  options.importance = Importance::kWanda;
  const auto pruned = made();
  EXPECT_NEAR(zero_share(*pruned), 0.5, 1e-2);
  // The first layer sees only the embeddings. The input of down_proj comes from whole projections of the same layer.
  const auto texts = inputs_of(*model, *data, 4);
  const std::pair<Projection, Rows ReferenceForward::Inputs::*> cases[] = {{kQ, &ReferenceForward::Inputs::qkv},
                                                                           {kO, &ReferenceForward::Inputs::o},
                                                                           {kUp, &ReferenceForward::Inputs::gate_up},
                                                                           {kDown, &ReferenceForward::Inputs::down}};
  for (const auto& [p, input] : cases) {
    const auto squares = column_squares(texts, 0, input);
    const WeightView &from = model->layer(0).proj[p], &to = pruned->layer(0).proj[p];
    for (int64_t r = 0; r < from.rows; r++) {
      double largest_gone = 0, smallest_kept = INFINITY;
      int64_t gone = 0;
      for (int64_t j = 0; j < from.cols; j++) {
        const double score = std::abs(weight(from, r, j)) * std::sqrt(squares[static_cast<size_t>(j)]);
        if (weight(to, r, j) == 0) {
          largest_gone = std::max(largest_gone, score);
          gone++;
        } else {
          smallest_kept = std::min(smallest_kept, score);
        }
      }
      EXPECT_EQ(gone, from.cols / 2);
      EXPECT_LE(largest_gone, smallest_kept * (1 + 1e-4));
    }
  }
}

TEST_F(SingleWeights, LaterLayersSeeWhatThePrunedOnesBeforeThemLeave) {
  options.importance = Importance::kWanda;
  const auto pruned = made();
  const auto texts = inputs_of(*pruned, *data, 4);  // q_proj's input in layer 1: only the pruned layer 0 decides it
  const auto squares = column_squares(texts, 1, &ReferenceForward::Inputs::qkv);
  const WeightView &from = model->layer(1).proj[kQ], &to = pruned->layer(1).proj[kQ];
  for (int64_t r = 0; r < from.rows; r++) {
    double largest_gone = 0, smallest_kept = INFINITY;
    for (int64_t j = 0; j < from.cols; j++) {
      const double score = std::abs(weight(from, r, j)) * std::sqrt(squares[static_cast<size_t>(j)]);
      double& bound = weight(to, r, j) == 0 ? largest_gone : smallest_kept;
      bound = weight(to, r, j) == 0 ? std::max(bound, score) : std::min(bound, score);
    }
    EXPECT_LE(largest_gone, smallest_kept * (1 + 1e-4));
  }
}

TEST_F(SingleWeights, IsTheSameEveryTimeRefusesTaylorAndCanBeCancelled) {
  options.importance = Importance::kWanda;
  EXPECT_EQ(made()->digest(), made()->digest());
  EXPECT_NE(made()->digest(), model->digest());
  const std::atomic<bool> cancelled{true};
  EXPECT_THROW(unstructured_model(model, data, options, nullptr, cancelled), Error);
  options.importance = Importance::kTaylor;
  EXPECT_THROW(made(), Error);
}

}  // namespace espalier::test

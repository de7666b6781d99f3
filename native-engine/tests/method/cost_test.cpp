// Tests the cost whose removed share is the sparsity: the prunable parameters to the bit, and a cost with coefficients against sums in
// double over all gates.
#include <numeric>

#include "method/masks/hard_concrete.h"
#include "method/masks/masks.h"
#include "method/one_shot.h"
#include "method/philox.h"
#include "method/sparsity/shape_target.h"
#include "method/sparsity/sparsity.h"
#include "method/sparsity/tracking.h"
#include "step/step_helpers.h"

namespace espalier::test {

using hard_concrete::open_probability;

class CostOfGates : public testing::Test {
 protected:
  // The model has three layers of 8 query heads, which read 2 key/value heads, and 160 units; it has 64 hidden units.
  std::shared_ptr<const ModelWeights> model = load_model(tiny_model());
  const ModelConfig& config = model->config();
  const Cost cost{1000, 190, 700, 130'000, 35, 3, 2000, 500};

  TrainState state_of(uint64_t seed, const ShapeTarget& shape) const {
    TrainState state(config, LoraSpec{});
    state.initialise(seed);
    const auto masks = state.params().subspan(static_cast<size_t>(state.lora_size()));
    for (size_t i = 0; i < masks.size(); i++) masks[i] = static_cast<float>(2 * random_normal(seed, 0, 1, static_cast<int64_t>(i)) - 0.5);
    state.shape = shape;
    return state;
  }

  // Returns the cost where gate i of a kind is open with the probability open(kind, i).
  double cost_of(const std::function<double(const char* kind, int64_t i)>& open) const {
    double heads = 0, units = 0, kv = 0, hidden = 0;
    for (int64_t l = 0; l < config.layer_count; l++) {
      for (int64_t i = 0; i < config.intermediate_size; i++) units += open("unit", l * config.intermediate_size + i);
      for (int64_t g = 0; g < config.kv_head_count; g++) {
        double unread = 1;
        for (int64_t h = 0; h < config.head_count; h++) {
          if (config.layers[l].kv_head_of_query[h] != g) continue;
          heads += open("head", l * config.head_count + h);
          unread *= 1 - open("head", l * config.head_count + h);
        }
        kv += 1 - unread;
      }
    }
    for (int64_t i = 0; i < config.hidden_size; i++) hidden += open("hidden", i);
    const double wide = heads * cost.head + units * cost.unit + kv * cost.kv + cost.rest;
    return wide * hidden / static_cast<double>(config.hidden_size) + heads * cost.head_alone + units * cost.unit_alone +
           kv * cost.kv_alone + cost.rest_alone;
  }
  double intact() const {
    return cost_of([](const char*, int64_t) { return 1.0; });
  }
  double expected_cost(const LogAlphas& a) const {
    return cost_of([&](const char* kind, int64_t i) {
      return open_probability(kind[0] == 'u' ? a.intermediate[i] : kind[1] == 'e' ? a.head[i] : a.hidden[i]);
    });
  }
  double hard_cost(const LogAlphas& a) const {
    const Masks z = deterministic_masks(config, a);
    return cost_of([&](const char* kind, int64_t i) {
      return (kind[0] == 'u' ? z.intermediate[i] : kind[1] == 'e' ? z.head[i] : z.hidden[i]) != 0.0f ? 1.0 : 0.0;
    });
  }
};

// The bits of runs that aim at a sparsity depend on these sums in this order.
TEST_F(CostOfGates, WithoutOneIsThatOfThePrunableParametersToTheBit) {
  const PrunableSizes sizes = prunable_sizes(config);
  for (uint64_t seed = 0; seed < 20; seed++) {
    const TrainState state = state_of(seed, {});
    const LogAlphas a(state);
    using hard_concrete::expected_open;
    const double parts = expected_open(a.head) * sizes.head + expected_open(a.intermediate) * sizes.intermediate;
    const double share = expected_open(a.hidden) / static_cast<double>(config.hidden_size), all = sizes.prunable + sizes.stable;
    EXPECT_EQ(expected_sparsity(config, a), 1.0 - (parts * share + sizes.stable) / all);
    Masks gradient = open_masks(config);
    ExpectedSparsity(config, a).add_gradient(0.37, gradient);
    const double by = -0.37 / all;
    const auto slope = [](double log_alpha) { return hard_concrete::slope_at(hard_concrete::closed_probability(log_alpha)); };
    EXPECT_EQ(gradient.head[3], 1.0f + static_cast<float>(by * share * sizes.head * slope(a.head[3])));
    EXPECT_EQ(gradient.hidden[5], 1.0f + static_cast<float>(by * parts / static_cast<double>(config.hidden_size) * slope(a.hidden[5])));
  }
}

TEST_F(CostOfGates, IsTheSumOverAllGatesAndItsGradientItsSlope) {
  TrainState state = state_of(3, {.cost = cost});
  EXPECT_NEAR(expected_sparsity(config, state), 1 - expected_cost(state) / intact(), 1e-12);
  EXPECT_NEAR(hard_sparsity(config, state).sparsity, 1 - hard_cost(state) / intact(), 1e-12);
  Masks gradient{std::vector<float>(3 * 8, 0.0f), std::vector<float>(3 * 160, 0.0f), std::vector<float>(64, 0.0f)};
  ExpectedSparsity(config, state).add_gradient(1.0, gradient);
  const auto check = [&](const char* name, const std::vector<float>& g) {
    const auto values = state.view(*state.find(name));
    for (const size_t i : {size_t{0}, size_t{5}, values.size() - 1}) {
      const float at = values[i];
      values[i] = at + 0.01f;
      const double high_at = values[i], high = expected_cost(state);
      values[i] = at - 0.01f;
      const double low_at = values[i], low = expected_cost(state);
      values[i] = at;
      const double slope = -(high - low) / (high_at - low_at) / intact();
      EXPECT_NEAR(g[i], slope, 2e-4 * std::abs(slope)) << name << " " << i;
    }
  };
  check("mask.head", gradient.head);
  check("mask.intermediate", gradient.intermediate);
  check("mask.hidden", gradient.hidden);
}

TEST_F(CostOfGates, TiltedMovesEndAtItsSchedule) {
  for (const double change : {0.02, -0.02}) {
    TrainState state = state_of(6, {.cost = cost});
    const auto masks = state.params().subspan(static_cast<size_t>(state.lora_size()));
    for (float& a : masks)
      a = std::clamp(a, static_cast<float>(hard_concrete::kMinLogAlpha) + 0.5f, static_cast<float>(hard_concrete::kMaxLogAlpha) - 0.5f);
    const std::vector<float> before(masks.begin(), masks.end());
    for (size_t i = 0; i < masks.size(); i++) masks[i] += static_cast<float>(0.5 * random_uniform(8, 0, 1, static_cast<int64_t>(i)) - 0.25);
    const double wanted = 1 - expected_cost(state) / intact() + change;
    tilt_moves(config, state.shape, state, before, masks, wanted);
    EXPECT_NEAR(1 - expected_cost(state) / intact(), wanted, 2e-6);
  }
}

TEST_F(CostOfGates, ExportedMasksKeepItToHalfAUnit) {
  for (uint64_t seed = 0; seed < 40; seed++) {
    const TrainState state = state_of(seed, {.exact_size = true, .cost = cost});
    EXPECT_NEAR(hard_cost(state), expected_cost(state), 0.5 * (cost.unit + cost.unit_alone) * 1.0001) << seed;
  }
}

// Where units are cheap, all of them together can't correct the rounding of heads and hidden units.
TEST_F(CostOfGates, LargerPartsCloseWhereNoUnitIsLeftToCorrectIt) {
  Cost cheap = cost;
  cheap.unit = 1;
  cheap.unit_alone = 0.5;
  const auto excess = [&](uint64_t seed, ShapeTarget shape) {
    shape.cost = cheap;
    const TrainState state = state_of(seed, shape);
    // Both sparsities are shares of the same cost.
    return CostRule(config, shape, {}).all() * (expected_sparsity(config, state) - hard_sparsity(config, state).sparsity);
  };
  const double unit = cheap.unit + cheap.unit_alone;
  for (uint64_t seed = 0; seed < 40; seed++) {
    EXPECT_LE(excess(seed, {.exact_size = true}), unit / 2) << seed;
    EXPECT_LE(excess(seed, {.multiple_of = 8}), 8 * unit / 2) << seed;
    EXPECT_LE(excess(seed, {.uniform = true}), 3 * unit / 2) << seed;
    EXPECT_LE(excess(seed, {.whole_attention = true}), unit / 2) << seed;
  }
}

TEST_F(CostOfGates, PruningAtOnceEndsAtItAndFreesKeysThatNoQueryReads) {
  GateImportance importance;
  for (int64_t i = 0; i < config.layer_count * config.head_count; i++) importance.head.push_back(static_cast<double>(i));
  for (int64_t i = 0; i < config.layer_count * config.intermediate_size; i++) importance.intermediate.push_back(static_cast<double>(i));
  const ShapeTarget shape{.exact_size = true, .cost = cost};
  for (const double sparsity : {0.0, 0.1, 0.3, 0.45}) {
    const Masks at = one_shot_log_alphas(config, shape, {}, importance, sparsity);
    std::vector<float> all;
    for (const auto* part : {&at.head, &at.intermediate, &at.hidden}) all.insert(all.end(), part->begin(), part->end());
    const LogAlphas a(StateLayout(config, LoraSpec{}), all, shape);
    const double gone = 1 - hard_cost(a) / intact(), unit = (cost.unit + cost.unit_alone) / intact();
    EXPECT_GE(gone, sparsity - 1e-5);
    EXPECT_LT(gone, sparsity + 2 * unit);
  }
  expect_error(ErrorCode::kInvalidArgument, "scheduled_sparsity", "of the cost",
               [&] { one_shot_log_alphas(config, shape, {}, importance, 0.9); });
}

// A cost with curves: a part costs less, the more parts are open. Heads cost most where few are open.
class CostWithCurves : public CostOfGates {
 protected:
  Cost curved() const {
    Cost c = cost;
    c.head_curve = {{1, 3, 8}, {3, 5, 8}};
    c.unit_curve = {{16, 40, 100, 160}, {40, 50, 120, 160}};
    c.kv_curve = {{2}, {2}};
    return c;
  }
  // Computes the curve in double without the rule's own code: straight lines between the points.
  static double counted(const WidthCurve& curve, double width) {
    double x = 0, y = 0;
    for (size_t i = 0; i < curve.widths.size(); i++) {
      if (width <= curve.widths[i]) return y + (width - x) * (curve.parts[i] - y) / (curve.widths[i] - x);
      x = curve.widths[i];
      y = curve.parts[i];
    }
    return y;
  }
  double curved_cost_of(const std::function<double(const char* kind, int64_t i)>& open) const {
    const Cost c = curved();
    double heads = 0, units = 0, kv = 0, hidden = 0;
    for (int64_t l = 0; l < config.layer_count; l++) {
      double h = 0, u = 0, k = 0;
      for (int64_t i = 0; i < config.head_count; i++) h += open("head", l * config.head_count + i);
      for (int64_t i = 0; i < config.intermediate_size; i++) u += open("unit", l * config.intermediate_size + i);
      for (int64_t g = 0; g < config.kv_head_count; g++) {
        double unread = 1;
        for (int64_t i = 0; i < config.head_count; i++)
          if (config.layers[l].kv_head_of_query[i] == g) unread *= 1 - open("head", l * config.head_count + i);
        k += 1 - unread;
      }
      heads += counted(c.head_curve, h);
      units += counted(c.unit_curve, u);
      kv += counted(c.kv_curve, k);
    }
    for (int64_t i = 0; i < config.hidden_size; i++) hidden += open("hidden", i);
    return (heads * c.head + units * c.unit + kv * c.kv + c.rest) * hidden / static_cast<double>(config.hidden_size) +
           heads * c.head_alone + units * c.unit_alone + kv * c.kv_alone + c.rest_alone;
  }
  double curved_expected(const LogAlphas& a) const {
    return curved_cost_of([&](const char* kind, int64_t i) {
      return open_probability(kind[0] == 'u' ? a.intermediate[i] : kind[1] == 'e' ? a.head[i] : a.hidden[i]);
    });
  }
  double curved_hard(const LogAlphas& a) const {
    const Masks z = deterministic_masks(config, a);
    return curved_cost_of([&](const char* kind, int64_t i) {
      return (kind[0] == 'u' ? z.intermediate[i] : kind[1] == 'e' ? z.head[i] : z.hidden[i]) != 0.0f ? 1.0 : 0.0;
    });
  }
};

TEST_F(CostWithCurves, IsThatOfTheIntactModelAsWithoutThem) {
  EXPECT_NEAR(curved_cost_of([](const char*, int64_t) { return 1.0; }), intact(), 1e-6);
}

TEST_F(CostWithCurves, IsTheSumOverLayersAndItsGradientItsSlope) {
  for (const uint64_t seed : {3, 4, 5}) {
    TrainState state = state_of(seed, {.cost = curved()});
    EXPECT_NEAR(expected_sparsity(config, state), 1 - curved_expected(state) / intact(), 1e-12);
    EXPECT_NEAR(hard_sparsity(config, state).sparsity, 1 - curved_hard(state) / intact(), 1e-12);
    Masks gradient{std::vector<float>(3 * 8, 0.0f), std::vector<float>(3 * 160, 0.0f), std::vector<float>(64, 0.0f)};
    ExpectedSparsity(config, state).add_gradient(1.0, gradient);
    const auto check = [&](const char* name, const std::vector<float>& g) {
      const auto values = state.view(*state.find(name));
      for (size_t i = 0; i < values.size(); i += 7) {
        const float at = values[i];
        values[i] = at + 0.001f;
        const double high_at = values[i], high = curved_expected(state);
        values[i] = at - 0.001f;
        const double low_at = values[i], low = curved_expected(state);
        values[i] = at;
        const double slope = -(high - low) / (high_at - low_at) / intact();
        EXPECT_NEAR(g[i], slope, 2e-4 * std::abs(slope)) << name << " " << i;
      }
    };
    check("mask.head", gradient.head);
    check("mask.intermediate", gradient.intermediate);
    check("mask.hidden", gradient.hidden);
  }
}

TEST_F(CostWithCurves, TiltedMovesEndAtItsSchedule) {
  for (const double change : {0.02, -0.02}) {
    TrainState state = state_of(6, {.cost = curved()});
    const auto masks = state.params().subspan(static_cast<size_t>(state.lora_size()));
    for (float& a : masks)
      a = std::clamp(a, static_cast<float>(hard_concrete::kMinLogAlpha) + 0.5f, static_cast<float>(hard_concrete::kMaxLogAlpha) - 0.5f);
    const std::vector<float> before(masks.begin(), masks.end());
    for (size_t i = 0; i < masks.size(); i++) masks[i] += static_cast<float>(0.5 * random_uniform(8, 0, 1, static_cast<int64_t>(i)) - 0.25);
    const double wanted = 1 - curved_expected(state) / intact() + change;
    tilt_moves(config, state.shape, state, before, masks, wanted);
    EXPECT_NEAR(1 - curved_expected(state) / intact(), wanted, 2e-6);
  }
}

TEST_F(CostWithCurves, ExportedMasksCostWhatIsExpectedOrJustLess) {
  for (uint64_t seed = 0; seed < 40; seed++) {
    const TrainState state = state_of(seed, {.exact_size = true, .cost = curved()});
    const double unit = 2.5 * (cost.unit + cost.unit_alone);  // at the steepest part of its curve
    EXPECT_LE(curved_hard(state), curved_expected(state) * (1 + 1e-12)) << seed;
    EXPECT_GT(curved_hard(state), curved_expected(state) - unit * 1.001) << seed;
  }
}

TEST_F(CostWithCurves, LayersThatAreAlikeKeepIt) {
  for (uint64_t seed = 0; seed < 10; seed++) {
    const TrainState state = state_of(seed, {.multiple_of = 8, .uniform = true, .cost = curved()});
    EXPECT_LE(curved_hard(state), curved_expected(state) * (1 + 1e-12)) << seed;
    const std::vector<int32_t> units = hard_sparsity(config, state).units_open;
    EXPECT_EQ(units, std::vector<int32_t>(3, units[0]));
  }
}

TEST_F(CostWithCurves, IsInTheStateFile) {
  const TrainState with = state_of(1, {.cost = curved()});
  const FileBytes bytes = with.serialize();
  EXPECT_EQ(TrainState::deserialize(bytes, config, LoraSpec{}).shape.cost, curved());
  EXPECT_EQ(TrainState::deserialize(bytes, config, LoraSpec{}).serialize(), bytes);
  for (const std::vector<double> bad : {std::vector<double>{3, 5, 4}, {3, 5, 9}, {0, 5, 8}}) {
    TrainState state = state_of(1, {.cost = curved()});
    state.shape.cost->head_curve.parts = bad;  // the curve falls, or does not end at the width of a layer
    if (bad[0] == 0) state.shape.cost->head_curve.widths[0] = 0;
    expect_error(ErrorCode::kStateCorrupt, "state:cost", "share", [&] { TrainState::deserialize(state.serialize(), config, LoraSpec{}); });
  }
}

TEST_F(CostOfGates, IsInTheStateFileOnlyWhereThereIsOne) {
  const TrainState without = state_of(1, {}), with = state_of(1, {.cost = cost});
  const FileBytes bytes = with.serialize();
  EXPECT_EQ(TrainState::deserialize(bytes, config, LoraSpec{}).shape.cost, cost);
  EXPECT_EQ(TrainState::deserialize(bytes, config, LoraSpec{}).serialize(), bytes);
  EXPECT_NE(with.digest(), without.digest());
  EXPECT_FALSE(TrainState::deserialize(without.serialize(), config, LoraSpec{}).shape.cost);
  for (const double bad : {-1.0, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    TrainState state = state_of(1, {.cost = cost});
    state.shape.cost->rest = bad;
    expect_error(ErrorCode::kStateCorrupt, "state:cost", "share", [&] { TrainState::deserialize(state.serialize(), config, LoraSpec{}); });
  }
}

}  // namespace espalier::test

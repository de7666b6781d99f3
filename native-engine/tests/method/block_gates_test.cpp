// Gates of key/value groups, attention and MLPs: their costs, gradients, rounding and states, against sums in double over all gates.
#include <numeric>

#include "method/masks/hard_concrete.h"
#include "method/masks/masks.h"
#include "method/one_shot.h"
#include "method/philox.h"
#include "method/sparsity/shape_target.h"
#include "method/sparsity/sparsity.h"
#include "method/sparsity/tracking.h"
#include "step/step_helpers.h"
#include "training/own_weights.h"

namespace espalier::test {

using hard_concrete::open_probability;

namespace {

constexpr BlockGates kAll{true, true, true};
const std::vector<std::string> kKinds{"mask.head", "mask.intermediate", "mask.hidden", "mask.kv_group", "mask.attention", "mask.mlp"};

}  // namespace

class GatesOfBlocks : public testing::Test {
 protected:
  // The model has three layers of 8 query heads, which read 2 key/value heads, and 160 units; it has 64 hidden units.
  std::shared_ptr<const ModelWeights> model = load_model(tiny_model());
  const ModelConfig& config = model->config();
  const Cost budget{1000, 190, 700, 130'000, 35, 3, 2000, 500};

  TrainState state_of(uint64_t seed, const ShapeTarget& shape = {}, const BlockGates& gates = kAll) const {
    TrainState state(config, LoraSpec{}, gates);
    state.initialise(seed);
    const auto masks = log_alphas_of(state);
    for (size_t i = 0; i < masks.size(); i++) masks[i] = static_cast<float>(2 * random_normal(seed, 0, 1, static_cast<int64_t>(i)));
    state.shape = shape;
    return state;
  }

  static std::span<float> log_alphas_of(TrainState& state) { return state.params().subspan(static_cast<size_t>(state.lora_size())); }

  // Returns the budget of the state. Without one, the cost is that of all projections, including keys and values.
  Cost cost_of(const TrainState& state) const {
    if (state.shape.cost) return *state.shape.cost;
    const double projections = 2.0 * static_cast<double>(config.hidden_size * config.head_dim);
    return {projections, 3.0 * static_cast<double>(config.hidden_size), projections, 0, 0, 0, 0, 0};
  }

  // Returns the cost where open(kind, i) says how far a gate is open: a head, a key/value head, a unit or a hidden unit.
  double cost_by(const Cost& cost, const std::function<double(char kind, int64_t i)>& open) const {
    const auto sum = [&](char kind, int64_t count) {
      double all = 0;
      for (int64_t i = 0; i < count; i++) all += open(kind, i);
      return all;
    };
    const int64_t layers = config.layer_count;
    const double heads = sum('h', layers * config.head_count), kv = sum('k', layers * config.kv_head_count);
    const double units = sum('u', layers * config.intermediate_size), hidden = sum('d', config.hidden_size);
    const double wide = heads * cost.head + units * cost.unit + kv * cost.kv + cost.rest;
    return wide * hidden / static_cast<double>(config.hidden_size) + heads * cost.head_alone + units * cost.unit_alone +
           kv * cost.kv_alone + cost.rest_alone;
  }

  double expected_share(TrainState& state) const {
    const auto p = [&](const char* name, int64_t i) {
      const StateLayout::Entry* e = state.find(name);
      return e ? open_probability(state.view(*e)[i]) : 1.0;
    };
    const auto group = [&](int64_t l, int64_t g) { return p("mask.kv_group", l * config.kv_head_count + g) * p("mask.attention", l); };
    const double cost = cost_by(cost_of(state), [&](char kind, int64_t i) {
      if (kind == 'd') return p("mask.hidden", i);
      if (kind == 'u') return p("mask.intermediate", i) * p("mask.mlp", i / config.intermediate_size);
      if (kind == 'h') {
        const int64_t l = i / config.head_count;
        return p("mask.head", i) * group(l, config.layers[l].kv_head_of_query[i % config.head_count]);
      }
      const int64_t l = i / config.kv_head_count, g = i % config.kv_head_count;
      double unread = 1;
      for (int64_t h = 0; h < config.head_count; h++)
        if (config.layers[l].kv_head_of_query[h] == g) unread *= 1 - p("mask.head", l * config.head_count + h);
      return (1 - unread) * group(l, g);
    });
    return cost / intact(state);
  }

  double intact(const TrainState& state) const {
    return cost_by(cost_of(state), [](char, int64_t) { return 1.0; });
  }

  double hard_share(const TrainState& state) const {
    const Masks z = deterministic_masks(config, state);
    const double cost = cost_by(cost_of(state), [&](char kind, int64_t i) {
      if (kind == 'd') return z.hidden[i] != 0.0f ? 1.0 : 0.0;
      if (kind == 'u') return z.intermediate[i] != 0.0f ? 1.0 : 0.0;
      if (kind == 'h') return z.head[i] != 0.0f ? 1.0 : 0.0;
      const int64_t l = i / config.kv_head_count, g = i % config.kv_head_count;
      for (int64_t h = 0; h < config.head_count; h++)
        if (config.layers[l].kv_head_of_query[h] == g && z.head[l * config.head_count + h] != 0.0f) return 1.0;
      return 0.0;
    });
    return cost / intact(state);
  }

  int64_t open_in(const std::vector<float>& mask, int64_t first, int64_t count) const {
    return std::count_if(mask.begin() + first, mask.begin() + first + count, [](float z) { return z != 0.0f; });
  }
};

TEST_F(GatesOfBlocks, TheExpectedCostIsTheSumOverAllGatesAndItsGradientItsSlope) {
  for (const bool with_budget : {true, false})
    for (const BlockGates& gates : {kAll, BlockGates{true, false, false}, BlockGates{false, true, false}, BlockGates{false, false, true}}) {
      // Without a budget, keys and values stay here as they do without gates of blocks.
      if (!with_budget && gates == BlockGates{false, false, true}) continue;
      TrainState state = state_of(3, {.cost = with_budget ? std::optional(budget) : std::nullopt}, gates);
      EXPECT_NEAR(expected_sparsity(config, state), 1 - expected_share(state), 1e-12);
      EXPECT_NEAR(hard_sparsity(config, state).sparsity, 1 - hard_share(state), 1e-12);
      Masks gradient = sample_masks(LogAlphas(state), 1, 1);
      const auto kinds = kinds_of(gradient);
      for (std::vector<float>* part : kinds) std::fill(part->begin(), part->end(), 0.0f);
      ExpectedSparsity(config, state).add_gradient(1.0, gradient);
      for (size_t kind = 0; kind < kKinds.size(); kind++) {
        const StateLayout::Entry* e = state.find(kKinds[kind]);
        ASSERT_EQ(kinds[kind]->size(), e ? static_cast<size_t>(e->size) : 0);
        if (!e) continue;
        const auto values = state.view(*e);
        for (const size_t i : {size_t{0}, size_t{1}, values.size() - 1}) {
          const float at = values[i];
          values[i] = at + 0.01f;
          const double high_at = values[i], high = expected_share(state);
          values[i] = at - 0.01f;
          const double low_at = values[i], low = expected_share(state);
          values[i] = at;
          const double slope = -(high - low) / (high_at - low_at);
          EXPECT_NEAR((*kinds[kind])[i], slope, 2e-4 * std::abs(slope)) << kKinds[kind] << " " << i;
        }
      }
    }
}

TEST_F(GatesOfBlocks, AnMlpsGateLeavesKeysAndValuesStable) {
  const TrainState with = state_of(4, {}, {false, false, true});
  const PrunableSizes sizes = prunable_sizes(config, with.gates());
  EXPECT_EQ(sizes.stable, prunable_sizes(config).stable);
  const PrunableSizes gone = prunable_sizes(config, {true, false, false});
  EXPECT_EQ(gone.stable, 0);
  EXPECT_EQ(gone.prunable, sizes.prunable + sizes.stable) << "keys and values too";
}

TEST_F(GatesOfBlocks, ASampledMaskIsTheProductAndTheGradientReachesEachGate) {
  const BlockGates kinds[] = {kAll, {true, false, false}, {false, true, true}};
  for (const BlockGates& gates : kinds) {
    TrainState state = state_of(5, {}, gates);
    // Any function of the masks that a pass uses would do; this one is linear.
    const auto weight = [](uint32_t stream, size_t i) { return random_normal(9, 0, stream, static_cast<int64_t>(i)); };
    const auto value = [&] {
      const Masks z = with_blocks(config, sample_masks(LogAlphas(state), 7, 2));
      double sum = 0;
      for (size_t i = 0; i < z.head.size(); i++) sum += weight(1, i) * z.head[i];
      for (size_t i = 0; i < z.intermediate.size(); i++) sum += weight(2, i) * z.intermediate[i];
      for (size_t i = 0; i < z.hidden.size(); i++) sum += weight(3, i) * z.hidden[i];
      return sum;
    };
    const Masks sampled = sample_masks(LogAlphas(state), 7, 2);
    Masks slopes = open_masks(config);
    for (size_t i = 0; i < slopes.head.size(); i++) slopes.head[i] = static_cast<float>(weight(1, i));
    for (size_t i = 0; i < slopes.intermediate.size(); i++) slopes.intermediate[i] = static_cast<float>(weight(2, i));
    for (size_t i = 0; i < slopes.hidden.size(); i++) slopes.hidden[i] = static_cast<float>(weight(3, i));
    const Masks gradient = log_alpha_gradient(sampled, gradient_of_gates(config, sampled, slopes));
    int64_t checked = 0;
    for (size_t kind = 0; kind < kKinds.size(); kind++) {
      const StateLayout::Entry* e = state.find(kKinds[kind]);
      if (!e) continue;
      const auto values = state.view(*e);
      const std::vector<float>& own = *kinds_of(sampled)[kind];
      for (size_t i = 0; i < values.size(); i += std::max<size_t>(1, values.size() / 12)) {
        if (own[i] <= 0.01f || own[i] >= 0.99f) {  // the clamp of the mask is near
          if (own[i] == 0.0f || own[i] == 1.0f) EXPECT_EQ((*kinds_of(gradient)[kind])[i], 0.0f);
          continue;
        }
        const float at = values[i];
        values[i] = at + 0.005f;
        const double high_at = values[i], high = value();
        values[i] = at - 0.005f;
        const double low_at = values[i], low = value();
        values[i] = at;
        const double slope = (high - low) / (high_at - low_at);
        EXPECT_NEAR((*kinds_of(gradient)[kind])[i], slope, 2e-3 * std::max(1.0, std::abs(slope))) << kKinds[kind] << " " << i;
        checked++;
      }
    }
    EXPECT_GT(checked, 5);
  }
}

TEST_F(GatesOfBlocks, OtherGatesKeepTheirSamples) {
  const TrainState with = state_of(6);
  TrainState without(config, LoraSpec{});
  const auto masks = log_alphas_of(without);
  std::copy_n(with.params().begin() + with.lora_size(), masks.size(), masks.begin());
  const Masks a = sample_masks(LogAlphas(with), 3, 4), b = sample_masks(LogAlphas(without), 3, 4);
  EXPECT_EQ(a.head, b.head);
  EXPECT_EQ(a.intermediate, b.intermediate);
  EXPECT_EQ(a.hidden, b.hidden);
  EXPECT_EQ(a.kv_group.size(), 6);
  EXPECT_EQ(a.attention.size(), 3);
  EXPECT_EQ(a.mlp.size(), 3);
  EXPECT_TRUE(b.kv_group.empty() && b.attention.empty() && b.mlp.empty());
}

TEST_F(GatesOfBlocks, TiltedMovesEndAtTheirSchedule) {
  for (const double change : {0.02, -0.02}) {
    TrainState state = state_of(6, {.cost = budget});
    const auto masks = log_alphas_of(state);
    for (float& a : masks)
      a = std::clamp(a, static_cast<float>(hard_concrete::kMinLogAlpha) + 0.5f, static_cast<float>(hard_concrete::kMaxLogAlpha) - 0.5f);
    const std::vector<float> before(masks.begin(), masks.end());
    for (size_t i = 0; i < masks.size(); i++) masks[i] += static_cast<float>(0.5 * random_uniform(8, 0, 1, static_cast<int64_t>(i)) - 0.25);
    const double wanted = 1 - expected_share(state) + change;
    tilt_moves(config, state.shape, state, before, masks, wanted);
    EXPECT_NEAR(1 - expected_share(state), wanted, 2e-6);
  }
}

TEST_F(GatesOfBlocks, BlocksAreRoundedFirstAndUnitsKeepTheSizeToHalfAUnit) {
  int64_t groups_closed = 0, layers_closed = 0;
  for (uint64_t seed = 0; seed < 40; seed++) {
    TrainState state = state_of(seed, {.exact_size = true, .cost = budget});
    for (const char* name : {"mask.head", "mask.intermediate", "mask.hidden"})
      for (float& a : state.view(*state.find(name))) a += 1.0f;
    const LogAlphas a(state);
    const Masks z = deterministic_masks(config, a);
    for (int64_t l = 0; l < config.layer_count; l++) {
      layers_closed += open_in(z.head, l * config.head_count, config.head_count) == 0;
      for (int64_t g = 0; g < config.kv_head_count; g++) groups_closed += open_in(z.head, l * config.head_count + g * 4, 4) == 0;
    }
    const double unit = (budget.unit + budget.unit_alone) / intact(state);
    // Enough MLPs stay open to hold the units that compensate for the rounding of blocks.
    const int64_t all = config.layer_count * config.intermediate_size, units = open_in(z.intermediate, 0, all);
    if (units > 0 && units < all) EXPECT_NEAR(hard_share(state), expected_share(state), 0.5001 * unit) << seed;
  }
  EXPECT_GT(groups_closed, 20);
  EXPECT_GT(layers_closed, 5);
}

TEST_F(GatesOfBlocks, AClosedGroupClosesItsHeadsWhateverTheirsAre) {
  TrainState state(config, LoraSpec{}, {true, false, false});
  state.initialise(1);
  state.view(*state.find("mask.kv_group"))[3] = -4;  // the second group of the second layer
  state.view(*state.find("mask.head"))[0] = -4;
  const Masks z = deterministic_masks(config, LogAlphas(state));
  for (int64_t h = 0; h < 24; h++) EXPECT_EQ(z.head[h] == 0.0f, h == 0 || (h >= 12 && h < 16)) << h;
  const OpenWidths widths = open_widths(config, z);
  EXPECT_EQ(widths.layers[1], (OpenWidths::Layer{4, 1, 160}));
  EXPECT_EQ(widths.layers[0], (OpenWidths::Layer{7, 2, 160}));
}

TEST_F(GatesOfBlocks, UniformLayersKeepEqualGroupsOfEqualHeadsAndGoAsAWhole) {
  for (uint64_t seed = 0; seed < 20; seed++) {
    TrainState state = state_of(seed, {.multiple_of = 16, .uniform = true});
    for (float& a : state.view(*state.find("mask.intermediate"))) a += 1.0f;
    keep_shape(config, state.shape, state, log_alphas_of(state));
    EXPECT_TRUE(std::ranges::equal(state.view(*state.find("mask.attention")), state.view(*state.find("mask.mlp"))));
    const Masks z = deterministic_masks(config, LogAlphas(state));
    std::vector<int64_t> widths, groups, heads;
    for (int64_t l = 0; l < config.layer_count; l++) {
      const int64_t units = open_in(z.intermediate, l * config.intermediate_size, config.intermediate_size);
      const int64_t in_layer = open_in(z.head, l * config.head_count, config.head_count);
      EXPECT_EQ(units == 0, in_layer == 0) << "a layer goes with both";
      if (units == 0) continue;
      widths.push_back(units);
      groups.push_back(0);
      for (int64_t g = 0; g < config.kv_head_count; g++) {
        const int64_t open = open_in(z.head, l * config.head_count + g * 4, 4);
        if (open == 0) continue;
        groups.back()++;
        heads.push_back(open);
      }
    }
    ASSERT_FALSE(widths.empty());
    for (const auto* counts : {&widths, &groups, &heads}) EXPECT_EQ(*std::ranges::min_element(*counts), *std::ranges::max_element(*counts));
    EXPECT_EQ(widths[0] % 16, 0);
  }
}

TEST_F(GatesOfBlocks, AreInTheStateFileOfRunsThatHaveThemAlone) {
  const TrainState with = state_of(1), without = state_of(1, {}, {});
  const FileBytes bytes = with.serialize();
  const TrainState read = TrainState::deserialize(bytes, config, LoraSpec{});
  EXPECT_EQ(read.gates(), kAll);
  EXPECT_EQ(read.serialize(), bytes);
  EXPECT_EQ(read_block_gates(bytes), kAll);
  EXPECT_EQ(read_block_gates(without.serialize()), BlockGates{});
  EXPECT_EQ(with.mask_size(), without.mask_size() + 6 + 3 + 3);
  const std::string text(bytes.begin(), bytes.end());
  const FileBytes other = without.serialize();
  EXPECT_NE(text.find("mask.kv_group.adam_v"), std::string::npos);
  EXPECT_EQ(std::string(other.begin(), other.end()).find("mask.kv_group"), std::string::npos);
}

TEST_F(GatesOfBlocks, ARunWithThemResumesInTheSameBitsAndASessionTakesNoOtherState) {
  TrainerOptions options;
  options.batch_size = 1;
  options.sequence_length = 16;
  options.backend.threads = 1;
  options.gates = kAll;
  const auto session = [&] {
    auto trainer = Trainer::create(model, LoraSpec{}, options);
    trainer->set_data(random_tokens(config.vocab_size, 16 * 31));
    return trainer;
  };
  const auto tracked = [](int64_t first, int64_t count) {
    SegmentPlan plan = segment(first, count);
    plan.sparsity_control = SparsityControl::kTracking;
    plan.mask_learning_rate = 0.4;
    plan.lambda_learning_rate = 0.02;
    for (int64_t i = 0; i < count; i++) plan.scheduled_sparsity[i] = std::min(0.4, 0.02 * static_cast<double>(first + i));
    return plan;
  };
  const auto whole = session();
  change_state(*whole, [](TrainState& fresh) { fresh.initialise(11); });
  run(*whole, tracked(0, 15));
  const FileBytes middle = whole->serialize();
  run(*whole, tracked(15, 15));
  EXPECT_NEAR(expected_sparsity(config, whole->log_alphas()), 0.4, 1e-3);
  const TrainState end = whole->export_state();
  const TrainState begin = [&] {
    TrainState fresh(config, LoraSpec{}, kAll);
    fresh.initialise(11);
    return fresh;
  }();
  for (const char* name : {"mask.kv_group", "mask.attention", "mask.mlp"})
    EXPECT_FALSE(std::ranges::equal(end.view(*end.find(name)), begin.view(*begin.find(name)))) << name << " learns";
  const auto resumed = session();
  resumed->import_state(StateReader(middle, config, LoraSpec{}));
  run(*resumed, tracked(15, 15));
  EXPECT_EQ(resumed->export_state().digest(), end.digest());
  expect_error(ErrorCode::kStateCorrupt, "state:mask", "other kinds of gates", [&] { whole->import_state(state_of(1, {}, {})); });
  expect_error(ErrorCode::kInvalidArgument, "teacher", "gates", [&] { whole->keep_teacher(state_of(1, {}, {false, true, false})); });

  const TrainState own = with_own_weights(*model, end);
  EXPECT_EQ(own.gates(), kAll);
  EXPECT_EQ(TrainState::deserialize(own.serialize(), config, LoraSpec{}).serialize(), own.serialize());
  EXPECT_EQ(deterministic_masks(config, own).head, deterministic_masks(config, end).head);
}

TEST_F(GatesOfBlocks, PruningAtOnceClosesLayersThenGroupsThenHeadsAndUnits) {
  GateImportance importance;
  for (int64_t i = 0; i < config.layer_count * config.head_count; i++) importance.head.push_back(static_cast<double>(i % 8));
  for (int64_t i = 0; i < config.layer_count * config.intermediate_size; i++) importance.intermediate.push_back(static_cast<double>(i));
  importance.kv_group = {100, 0, 0, 0, 0, 0};
  importance.layer = {3, 1, 2};
  const ShapeTarget shape{.exact_size = true, .cost = budget};
  for (const BlockGates& gates : {kAll, BlockGates{true, false, false}, BlockGates{false, true, false}, BlockGates{false, false, true}})
    for (const double sparsity : {0.0, 0.1, 0.3, 0.45}) {
      const Masks at = one_shot_log_alphas(config, shape, gates, importance, sparsity);
      TrainState state(config, LoraSpec{}, gates);
      std::ranges::copy(in_a_row(at), log_alphas_of(state).begin());
      state.shape = shape;
      const double gone = 1 - hard_share(state), unit = (budget.unit + budget.unit_alone) / intact(state);
      EXPECT_GE(gone, sparsity - 1e-5);
      EXPECT_LT(gone, sparsity + 2 * unit);
      if (sparsity == 0.1 && gates == BlockGates{true, false, false}) EXPECT_EQ(std::ranges::count(at.kv_group, -30.0f), 0);
      if (sparsity != 0.3) continue;
      const Masks z = deterministic_masks(config, state);
      if (gates == kAll) {
        EXPECT_EQ(open_in(z.head, 8, 8) + open_in(z.intermediate, 160, 160), 0) << "the layer that changes least";
        EXPECT_GT(open_in(z.head, 0, 8) * open_in(z.head, 16, 8), 0);
      }
      // More than half of each layer's parts are removed: one of its two groups, with its heads and its own keys and values.
      if (gates == BlockGates{true, false, false}) EXPECT_EQ(at.kv_group, (std::vector<float>{30, -30, -30, 30, -30, 30}));
    }
}

TEST_F(GatesOfBlocks, PruningAtOnceRatesLayersOnText) {
  TrainerOptions options;
  options.batch_size = 2;
  options.sequence_length = 16;
  options.backend.threads = 1;
  options.gates = {false, true, true};
  const auto trainer = Trainer::create(model, LoraSpec{}, options);
  trainer->set_data(random_tokens(config.vocab_size, 16 * 31));
  change_state(*trainer, [](TrainState& fresh) { fresh.initialise(11); });
  SegmentPlan plan = segment(0, 1);
  plan.scheduled_sparsity = {0.4};
  plan.one_shot = OneShot{Importance::kWanda, 4};
  run(*trainer, plan);
  const Masks z = deterministic_masks(config, trainer->log_alphas());
  int64_t gone = 0;
  for (int64_t l = 0; l < config.layer_count; l++) gone += open_in(z.head, l * 8, 8) == 0 && open_in(z.intermediate, l * 160, 160) == 0;
  EXPECT_EQ(gone, 1) << "a third of the projections is one layer";
  EXPECT_NEAR(hard_sparsity(config, trainer->log_alphas()).sparsity, 0.4, 0.01);
}

}  // namespace espalier::test

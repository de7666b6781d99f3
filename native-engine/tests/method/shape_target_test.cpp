// Masks that are held to shapes: what is open in a state, and what a run reaches that learns under a shape target.
#include "method/sparsity/shape_target.h"

#include "method/masks/hard_concrete.h"
#include "method/masks/masks.h"
#include "method/philox.h"
#include "method/sparsity/sparsity.h"
#include "step/step_helpers.h"

namespace espalier::test {

class Shapes : public testing::Test {
 protected:
  std::shared_ptr<const ModelWeights> model = load_model(tiny_model());
  const ModelConfig& config = model->config();

  TrainState loosened(const ShapeTarget& shape) const {
    TrainState state(config, LoraSpec{});
    state.initialise(5);
    loosen_masks(state);
    state.shape = shape;
    return state;
  }

  // Trains with tracking to a sparsity of 40%.
  TrainState trained(const ShapeTarget& shape) const {
    TrainerOptions options;
    options.batch_size = 1;
    options.sequence_length = 16;
    options.backend.threads = 1;
    auto trainer = Trainer::create(model, LoraSpec{}, options);
    change_state(*trainer, [&](TrainState& fresh) {
      fresh.initialise(11);
      fresh.shape = shape;
    });
    trainer->set_data(random_tokens(config.vocab_size, 16 * 31));
    SegmentPlan plan = segment(0, 40);
    plan.sparsity_control = SparsityControl::kTracking;
    plan.mask_learning_rate = 0.4;
    plan.lambda_learning_rate = 0.02;
    for (int64_t i = 0; i < 40; i++) plan.scheduled_sparsity[i] = 0.4 * std::min(1.0, static_cast<double>(i + 1) / 20);
    const std::atomic<bool> cancel{false};
    trainer->run_segment(plan, nullptr, cancel);
    return trainer->export_state();
  }
};

TEST_F(Shapes, WholeBlocksOfUnitsKeepTheSizeToWithinABlock) {
  const TrainState free = loosened({}), blocks = loosened({.multiple_of = 16});
  const OpenCounts counts = open_counts(config, blocks, {config, blocks});
  EXPECT_EQ(counts.hidden % 16, 0);
  for (const int64_t units : counts.units) EXPECT_EQ(units % 16, 0);
  EXPECT_EQ(counts.heads, open_counts(config, free, {config, free}).heads);
  const double block = 16.0 * 3 * static_cast<double>(config.hidden_size);
  const double all = static_cast<double>(config.layer_count * config.intermediate_size * 3 * config.hidden_size);
  EXPECT_NEAR(hard_sparsity(config, blocks).sparsity, hard_sparsity(config, blocks).expected_sparsity, block / all + 0.02);
}

// The last rounding error is at most half a unit.
TEST_F(Shapes, ExactSizeMakesGoodWhatRoundingTheGroupsAddsOrTakes) {
  const PrunableSizes sizes = prunable_sizes(config);
  const double half = 0.5 * sizes.intermediate / (sizes.prunable + sizes.stable);
  double furthest = 0;
  for (uint64_t seed = 0; seed < 40; seed++) {
    TrainState state = loosened({});
    const auto masks = state.params().subspan(static_cast<size_t>(state.lora_size()));
    for (size_t i = 0; i < masks.size(); i++) masks[i] = static_cast<float>(3 * random_normal(seed, 0, 1, static_cast<int64_t>(i)));
    const OpenCounts plain = open_counts(config, state, {config, state});
    const HardSparsity by_group = hard_sparsity(config, state);
    furthest = std::max(furthest, std::abs(by_group.sparsity - by_group.expected_sparsity));
    state.shape.exact_size = true;
    const HardSparsity exact = hard_sparsity(config, state);
    EXPECT_NEAR(exact.sparsity, exact.expected_sparsity, half * 1.0001) << seed;
    const OpenCounts counts = open_counts(config, state, {config, state});
    EXPECT_EQ(counts.heads, plain.heads);
    EXPECT_EQ(counts.hidden, plain.hidden);
    EXPECT_EQ(exact.units_open, std::vector<int32_t>(counts.units.begin(), counts.units.end()));
  }
  EXPECT_GT(furthest, 4 * half) << "there was something to make good";
}

TEST_F(Shapes, ExactSizeOpensTheLikeliestOfTheClosedUnitsOfAllLayers) {
  TrainState state = loosened({});
  const auto masks = state.params().subspan(static_cast<size_t>(state.lora_size()));
  for (float& a : masks) a = 4.0f;
  const auto heads = state.view(*state.find("mask.head"));
  // In each layer 0.4 of a head is expected to be closed, and no group closes one.
  for (int64_t l = 0; l < config.layer_count; l++) heads[static_cast<size_t>(l * config.head_count)] = -1.193f;
  const auto units = state.view(*state.find("mask.intermediate"));
  const auto unit = static_cast<size_t>(config.intermediate_size + 3);
  units[unit] = 3.0f;
  state.shape.exact_size = true;
  const Masks z = deterministic_masks(config, state);
  EXPECT_EQ(std::count(z.head.begin(), z.head.end(), 0.0f), 0);
  EXPECT_GT(std::count(z.intermediate.begin(), z.intermediate.end(), 0.0f), 1);
  EXPECT_EQ(z.intermediate[unit], 0.0f) << "the one that is the likeliest to be closed";
}

TEST_F(Shapes, UniformLayersAreAlike) {
  const TrainState alike = loosened({.multiple_of = 16, .uniform = true});
  const OpenCounts counts = open_counts(config, alike, {config, alike});
  for (int64_t l = 1; l < config.layer_count; l++) {
    EXPECT_EQ(counts.heads[l], counts.heads[0]);
    EXPECT_EQ(counts.units[l], counts.units[0]);
  }
  EXPECT_EQ(counts.units[0] % 16, 0);
}

TEST_F(Shapes, AttentionGoesAsAWholeAndTheFirstLayerKeepsIts) {
  TrainState state = loosened({.multiple_of = 1, .uniform = false, .whole_attention = true});
  auto heads = state.view(*state.find("mask.head"));
  std::fill(heads.begin(), heads.end(), -4.0f);
  std::fill(heads.begin() + 2 * config.head_count, heads.begin() + 3 * config.head_count, 4.0f);
  const Masks z = deterministic_masks(config, state);
  const auto open = [&](int64_t layer) {
    int64_t count = 0;
    for (int64_t h = 0; h < config.head_count; h++) count += z.head[layer * config.head_count + h] != 0.0f;
    return count;
  };
  EXPECT_EQ(open(0), config.head_count) << "the likeliest block counts one, which is the first";
  EXPECT_EQ(open(1), 0);
  std::fill(heads.begin(), heads.end(), 4.0f);
  for (float& a : heads.subspan(static_cast<size_t>(config.head_count), static_cast<size_t>(config.head_count))) a = -4.0f;
  const Masks two = deterministic_masks(config, state);
  EXPECT_EQ(two.head[config.head_count], 0.0f);
  EXPECT_NE(two.head[2 * config.head_count], 0.0f);
}

TEST_F(Shapes, WithoutATargetNothingChanges) {
  TrainState state = loosened({});
  const FileBytes before = state.serialize();
  keep_shape(config, {}, state, state.params().subspan(static_cast<size_t>(state.lora_size())));
  EXPECT_EQ(state.serialize(), before);
}

TEST_F(Shapes, LayersThatLearnTogetherStayAlikeAndMeetTheTarget) {
  const TrainState state = trained({.multiple_of = 16, .uniform = true});
  EXPECT_TRUE(state.shape.uniform) << "the target is part of the state";
  const HardSparsity hard = hard_sparsity(config, state);
  for (const int32_t units : hard.units_open) EXPECT_EQ(units, hard.units_open[0]);
  for (const int32_t heads : hard.heads_open) EXPECT_EQ(heads, hard.heads_open[0]);
  EXPECT_GE(hard.expected_sparsity, 0.4);
  EXPECT_NEAR(hard.sparsity, 0.4, 0.1);
  const auto units = state.view(*state.find("mask.intermediate"));
  std::vector<double> expected;
  for (int64_t l = 0; l < config.layer_count; l++) {
    double open = 0;
    for (const float a : units.subspan(static_cast<size_t>(l * config.intermediate_size), static_cast<size_t>(config.intermediate_size)))
      open += hard_concrete::open_probability(a);
    expected.push_back(open);
  }
  for (const double open : expected) EXPECT_NEAR(open, expected[0], 0.2 * expected[0]);
}

TEST_F(Shapes, HeadsOfABlockLearnTogether) {
  const TrainState state = trained({.multiple_of = 16, .uniform = false, .whole_attention = true});
  for (const int32_t heads : hard_sparsity(config, state).heads_open)
    EXPECT_TRUE(heads == 0 || heads == static_cast<int32_t>(config.head_count)) << heads;
}

TEST_F(Shapes, AreInTheStateFileOnlyWhereThereAreSome) {
  const TrainState free = loosened({}), uniform = loosened({.multiple_of = 32, .uniform = true});
  const FileBytes bytes = uniform.serialize();
  EXPECT_TRUE(TrainState::deserialize(bytes, config, LoraSpec{}).shape == uniform.shape);
  EXPECT_EQ(TrainState::deserialize(bytes, config, LoraSpec{}).serialize(), bytes);
  EXPECT_TRUE(TrainState::deserialize(free.serialize(), config, LoraSpec{}).shape == ShapeTarget{});
  EXPECT_LT(free.serialize().size(), bytes.size());
  const TrainState exact = loosened({.exact_size = true});
  EXPECT_TRUE(TrainState::deserialize(exact.serialize(), config, LoraSpec{}).shape == exact.shape);
  EXPECT_NE(exact.digest(), free.digest());
}

}  // namespace espalier::test

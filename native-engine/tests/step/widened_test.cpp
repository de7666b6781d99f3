// LoRA of a higher rank computes the same as the narrower LoRA did, and learns from there.
#include "espalier/evaluation/evaluate.h"
#include "files/small_models.h"
#include "method/masks/masks.h"
#include "step/step_helpers.h"

namespace espalier::test {

class Widened : public testing::Test {
 protected:
  std::shared_ptr<const ModelWeights> model = load_model(tiny_model());

  TrainState narrow() const {
    TrainState state(model->config(), LoraSpec{});
    state.initialise(11);
    for (int64_t i = 0; i < state.lora_size(); i++) state.params()[i] += static_cast<float>(0.05 * random_normal(6, 0, 1, i));
    loosen_masks(state);
    state.step = 7;
    return state;
  }
  double loss(const TrainState& state) const {
    const auto text = random_tokens(model->config().vocab_size, 96);
    const std::atomic<bool> cancel{false};
    return evaluate(model, &state, text->ids, 24, ComputeDType::kF32, on_threads(2), nullptr, cancel).negative_log_likelihood;
  }
};

TEST_F(Widened, ComputesTheSameUntilItLearns) {
  const TrainState before = narrow(), wide = before.widened(model->config(), 5, 3);
  EXPECT_EQ(wide.lora().rank, before.lora().rank + 5);
  EXPECT_EQ(static_cast<float>(wide.lora().scale()), static_cast<float>(before.lora().scale()));
  EXPECT_EQ(wide.step, before.step);
  EXPECT_NEAR(loss(wide), loss(before), 1e-6);
}

TEST_F(Widened, IsAFunctionOfStateRankAndSeed) {
  const TrainState before = narrow();
  const std::string digest = before.widened(model->config(), 5, 3).digest();
  EXPECT_EQ(before.widened(model->config(), 5, 3).digest(), digest);
  EXPECT_NE(before.widened(model->config(), 5, 4).digest(), digest);
  EXPECT_NE(before.widened(model->config(), 6, 3).digest(), digest);
  const auto bytes = before.widened(model->config(), 5, 3).serialize();
  const LoraSpec found = read_lora_spec(bytes);
  EXPECT_EQ(found.rank, 13);
  EXPECT_EQ(TrainState::deserialize(bytes, model->config(), found).digest(), digest);
}

}  // namespace espalier::test

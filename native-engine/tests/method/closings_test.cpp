// The intact model with a part of a state's masks, which shows what closing that part costs.
#include "espalier/evaluation/evaluate.h"
#include "export/compacted_model.h"
#include "files/small_models.h"
#include "step/step_helpers.h"

namespace espalier::test {

class Closings : public testing::Test {
 protected:
  std::shared_ptr<const ModelWeights> model = load_model(tiny_model());
  std::shared_ptr<const TokenData> text = random_tokens(model->config().vocab_size, 96);
  const std::atomic<bool> cancel{false};
  TrainState state = [this] {
    TrainState made(model->config(), LoraSpec{});
    made.initialise(11);  // LoRA changes nothing yet
    loosen_masks(made);
    return made;
  }();
  Masks all = deterministic_masks(model->config(), state);

  double loss(const std::shared_ptr<const ModelWeights>& of, const TrainState* under, const Masks* masks = nullptr) const {
    return evaluate(of, under, text->ids, 24, ComputeDType::kF32, on_threads(2), nullptr, cancel, nullptr, masks).negative_log_likelihood;
  }
};

TEST_F(Closings, OfAllGatesAreTheStudentWithoutLora) {
  const Masks masks = part_of(model->config(), all, {});
  EXPECT_EQ(loss(model, nullptr, &masks), loss(model, &state));
  EXPECT_GT(closed_gates(masks), 0);
}

TEST_F(Closings, OfNoKindAreTheIntactModel) {
  const Masks masks = part_of(model->config(), all, {.layer = {}, .heads = false, .units = false, .hidden = false});
  EXPECT_EQ(closed_gates(masks), 0);
  EXPECT_NEAR(loss(model, nullptr, &masks), loss(model, nullptr), 1e-6);
}

TEST_F(Closings, OfALayerAreTheSmallModelThatLacksThem) {
  const ModelConfig& config = model->config();
  for (int64_t layer = 0; layer < config.layer_count; layer++) {
    for (const bool heads : {true, false}) {
      const Masks masks = part_of(config, all, {.layer = layer, .heads = heads, .units = !heads, .hidden = true});
      const auto& whole = heads ? all.head : all.intermediate;
      const auto& kept = heads ? masks.head : masks.intermediate;
      const auto size = static_cast<size_t>(heads ? config.head_count : config.intermediate_size);
      for (size_t i = 0; i < whole.size(); i++)
        EXPECT_EQ(kept[i], i / size == static_cast<size_t>(layer) ? whole[i] : 1.0f) << "layer " << layer << ", gate " << i;
      EXPECT_EQ(std::count(masks.hidden.begin(), masks.hidden.end(), 1.0f), static_cast<int64_t>(masks.hidden.size()));
      EXPECT_NEAR(loss(model, nullptr, &masks), loss(compacted_model(*model, nullptr, masks, DType::kF32), nullptr), 1e-5);
    }
  }
}

}  // namespace espalier::test

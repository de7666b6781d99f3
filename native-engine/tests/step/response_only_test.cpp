// Training on responses: tokens that are only context are read, but no loss counts their prediction.
#include "files/reference_forward.h"
#include "files/small_models.h"
#include "method/masks/masks.h"
#include "step/step_helpers.h"

namespace espalier::test {

constexpr int64_t kRow = 24;

class ResponseOnly : public testing::Test {
 protected:
  std::shared_ptr<const ModelWeights> model = load_model(tiny_model());
  std::vector<uint32_t> ids = random_tokens(model->config().vocab_size, 2 * kRow)->ids;

  // Runs one step of cross-entropy under the deterministic masks. The second row begins with a prompt.
  StepReport step(Trainer& trainer, const std::vector<bool>& context, const LossWeights& losses = {0.0, 0.0, 1.0, 1.0}) {
    auto data = std::make_shared<TokenData>();
    data->ids = ids;
    data->context = context;
    trainer.set_data(data);
    SegmentPlan plan = segment(0, 1);
    plan.losses = losses;
    plan.train_masks = false;
    plan.gradient_clip_norm = 0;  // without clipping, a first moment is a tenth of the gradient
    StepReport report;
    const std::atomic<bool> cancel{false};
    trainer.run_segment(plan, [&](const StepReport& r) { report = r; }, cancel);
    return report;
  }

  std::unique_ptr<Trainer> session(int64_t shards = 1) {
    TrainerOptions options;
    options.dtype = ComputeDType::kF32;
    options.micro_shards = shards;
    auto trainer = tiny_session(options, model);
    change_state(*trainer, [](TrainState& state) {
      for (int64_t i = 0; i < state.lora_size(); i++) state.params()[i] += static_cast<float>(0.05 * random_normal(6, 0, 1, i));
      loosen_masks(state);
    });
    return trainer;
  }

  std::vector<double> gradient(Trainer& trainer) {
    const TrainState state = trainer.export_state();
    const auto moments = state.adam_m().first(state.lora_size());
    return {moments.begin(), moments.end()};
  }

  static int64_t learned(const std::vector<bool>& context) {
    int64_t count = 0;
    for (size_t i = 0; i < context.size(); i++) count += i % kRow != 0 && !context[i];
    return count;
  }
};

TEST_F(ResponseOnly, TheHighestBitOfAWordSaysThatATokenIsContext) {
  const TokenData marked = token_data({5, 0x80000007, 0x80000000, 9});
  EXPECT_EQ(marked.ids, (std::vector<uint32_t>{5, 7, 0, 9}));
  EXPECT_EQ(marked.context, (std::vector<bool>{false, true, true, false}));
  EXPECT_TRUE(token_data({5, 7, 0, 9}).context.empty()) << "text of before has no marks";
}

TEST_F(ResponseOnly, TheLossIsTheMeanOverResponses) {
  std::vector<bool> context(ids.size());
  for (size_t i = 0; i < context.size(); i++) context[i] = i % kRow < (i < kRow ? 5 : 20);
  const auto trainer = session();
  const TrainState before = trainer->export_state();
  const Masks masks = deterministic_masks(model->config(), before);
  double expected = 0;
  for (int64_t row = 0; row < 2; row++) {
    std::vector<Rows> layers;
    const auto sequence = std::span<const uint32_t>(ids).subspan(row * kRow, kRow);
    const Rows logits = ReferenceForward(*model, &before, masks).logits(sequence, layers);
    for (int64_t t = 0; t + 1 < kRow; t++) {
      if (context[row * kRow + t + 1]) continue;
      double total = 0;
      for (const double v : logits[t]) total += std::exp(v);
      expected += std::log(total) - logits[t][sequence[t + 1]];
    }
  }
  EXPECT_NEAR(step(*trainer, context).lm_loss, expected / static_cast<double>(learned(context)), 1e-5);
}

TEST_F(ResponseOnly, GradientsOfPromptAndResponseMakeThatOfTheWhole) {
  std::vector<bool> prompt(ids.size()), response(ids.size());
  for (size_t i = 0; i < prompt.size(); i++) response[i] = !(prompt[i] = i % kRow < 9);
  const auto whole = session(), of_responses = session(), of_prompts = session(), in_shards = session(2);
  step(*whole, {});
  step(*of_responses, prompt);
  step(*of_prompts, response);
  step(*in_shards, prompt);
  const auto all = gradient(*whole), mine = gradient(*of_responses), others = gradient(*of_prompts), shards = gradient(*in_shards);
  const auto of_all = static_cast<double>(2 * (kRow - 1));
  double difference = 0, size = 0, between = 0, of_mine = 0;
  for (size_t i = 0; i < all.size(); i++) {
    const double sum = (mine[i] * static_cast<double>(learned(prompt)) + others[i] * static_cast<double>(learned(response))) / of_all;
    difference += (sum - all[i]) * (sum - all[i]);
    size += all[i] * all[i];
    between += (mine[i] - shards[i]) * (mine[i] - shards[i]);
    of_mine += mine[i] * mine[i];
  }
  EXPECT_GT(size, 0);
  EXPECT_LT(std::sqrt(difference / size), 1e-4);
  EXPECT_LT(std::sqrt(between / of_mine), 1e-4) << "the mean runs over the responses of all shards";
}

TEST_F(ResponseOnly, ABatchWithoutResponsesTeachesNothing) {
  const auto trainer = session();
  const StepReport report = step(*trainer, std::vector<bool>(ids.size(), true));
  EXPECT_FALSE(report.skipped);
  EXPECT_EQ(report.lm_loss, 0);
  EXPECT_EQ(report.gradient_norm, 0);
  for (const double g : gradient(*trainer)) ASSERT_EQ(g, 0);
}

TEST_F(ResponseOnly, ATeacherTeachesPromptsToo) {
  std::vector<bool> context(ids.size());
  for (size_t i = 0; i < context.size(); i++) context[i] = i % 3 == 0;
  const auto marked = session(), plain = session();
  step(*marked, context, {0.9, 0.1, 0.0, 1.0});
  step(*plain, {}, {0.9, 0.1, 0.0, 1.0});
  EXPECT_EQ(digest_of(*marked), digest_of(*plain));
}

}  // namespace espalier::test

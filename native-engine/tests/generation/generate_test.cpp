// Generated texts: how tokens are chosen, where a text ends, and what does not change a text.
#include "espalier/generation/generate.h"

#include "files/export_student.h"
#include "generation/sampler.h"
#include "step/step_helpers.h"

namespace espalier::test {

namespace {

const std::function<bool(int64_t)> kNeverStopped = [](int64_t) { return false; };

struct Texts {
  std::vector<std::vector<uint32_t>> ids;
  std::vector<Finish> finish;
  GenerationResult result;
};

Texts generate_all(const std::shared_ptr<const ModelWeights>& model, const GenerateRequest& request,
                   const std::function<bool(int64_t)>& stopped = kNeverStopped) {
  Texts texts{std::vector<std::vector<uint32_t>>(request.prompts.size()), std::vector<Finish>(request.prompts.size()), {}};
  texts.result = generate(
      model, request,
      [&](const GeneratedToken& token) {
        texts.ids[token.prompt].push_back(token.id);
        texts.finish[token.prompt] = token.finish;
      },
      stopped, kNotCancelled);
  return texts;
}

Prompt prompt_of(const ModelConfig& config, size_t tokens, int64_t max_tokens, Sampling sampling = {}) {
  return {some_ids(config, tokens), max_tokens, sampling};
}

GenerateRequest request_of(std::vector<Prompt> prompts) {
  GenerateRequest request;
  request.prompts = std::move(prompts);
  request.backend = on_threads(2);
  return request;
}

}  // namespace

TEST(Generate, GreedyTokensAreTheLikeliestOfAWholePass) {
  const auto model = load_model(factbook_model());
  const GenerateRequest request = request_of({prompt_of(model->config(), 6, 12)});
  std::vector<uint32_t> ids = request.prompts[0].ids;
  const Texts texts = generate_all(model, request);
  const Masks open;
  const ReferenceForward forward(*model, nullptr, open);
  for (const uint32_t id : texts.ids[0]) {
    const std::vector<double> logits = forward.logits(ids).back();
    EXPECT_EQ(id, std::max_element(logits.begin(), logits.end()) - logits.begin()) << "after " << ids.size() << " tokens";
    ids.push_back(id);
  }
  EXPECT_EQ(ids.size(), 18u);
}

TEST(Generate, ATextDependsOnItsSeedAndNotOnItsCompany) {
  const auto model = load_model(factbook_model());
  std::vector<Prompt> prompts;
  for (size_t i = 0; i < 21; i++)
    prompts.push_back(prompt_of(model->config(), 1 + i % 6, 5 + static_cast<int64_t>(i % 4), {0.9, 0.95, i / 3}));
  GenerateRequest request = request_of(prompts);
  const Texts together = generate_all(model, request);
  request.together = 3;
  EXPECT_EQ(generate_all(model, request).ids, together.ids);
  for (const size_t i : {0u, 8u, 20u}) EXPECT_EQ(generate_all(model, request_of({prompts[i]})).ids[0], together.ids[i]) << i;
  prompts[8].sampling.seed = 77;
  prompts[8].max_tokens = together.ids[8].size();
  EXPECT_NE(generate_all(model, request_of({prompts[8]})).ids[0], together.ids[8]);
}

TEST(Generate, ATextEndsAtAnEndTokenAtItsLengthAndWithThePositions) {
  const auto model = load_model(factbook_model());
  GenerateRequest request = request_of({prompt_of(model->config(), 6, 12)});
  const Texts whole = generate_all(model, request);
  EXPECT_EQ(whole.ids[0].size(), 12u);
  EXPECT_EQ(whole.finish[0], Finish::kLength);

  request.end_tokens = {whole.ids[0][4]};
  const Texts ended = generate_all(model, request);
  const size_t first = std::find(whole.ids[0].begin(), whole.ids[0].end(), whole.ids[0][4]) - whole.ids[0].begin();
  EXPECT_EQ(ended.ids[0].size(), first + 1);
  EXPECT_EQ(ended.finish[0], Finish::kEnd);

  const auto positions = static_cast<size_t>(model->config().max_positions);
  const Texts full = generate_all(model, request_of({prompt_of(model->config(), positions - 3, 100)}));
  EXPECT_EQ(full.ids[0].size(), 3u);
  EXPECT_EQ(full.finish[0], Finish::kLength);
}

TEST(Generate, AStoppedTextLeavesItsPlaceToTheNext) {
  const auto model = load_model(tiny_model());
  GenerateRequest request =
      request_of({prompt_of(model->config(), 3, 40), prompt_of(model->config(), 4, 6), prompt_of(model->config(), 5, 6)});
  request.together = 2;
  int64_t asked = 0;
  const Texts texts = generate_all(model, request, [&](int64_t prompt) { return prompt == 0 && ++asked > 2; });
  EXPECT_EQ(texts.ids[0].size(), 3u);
  EXPECT_EQ(texts.ids[1].size(), 6u);
  EXPECT_EQ(texts.ids[2].size(), 6u);
}

TEST(Generate, CancelEndsItAtTheNextToken) {
  const auto model = load_model(tiny_model());
  std::atomic<bool> cancel{false};
  int64_t tokens = 0;
  expect_error(ErrorCode::kCancelled, "", "cancelled", [&] {
    generate(
        model, request_of({prompt_of(model->config(), 3, 40)}), [&](const GeneratedToken&) { cancel = ++tokens == 5; }, kNeverStopped,
        cancel);
  });
  EXPECT_EQ(tokens, 5);
}

TEST(Generate, RefusesWhatNoModelCanGoOnFrom) {
  const auto model = load_model(tiny_model());
  const ModelConfig& config = model->config();
  const auto refused = [&](const std::string& field, const std::string& message, Prompt prompt) {
    expect_error(ErrorCode::kInvalidArgument, field, message,
                 [&] { generate_all(model, request_of({prompt_of(config, 3, 4), std::move(prompt)})); });
  };
  refused("prompts[1]", "holds no token", {});
  refused("prompts[1]", "outside the vocabulary", {{static_cast<uint32_t>(config.vocab_size)}});
  refused("prompts[1]", "positions", prompt_of(config, static_cast<size_t>(config.max_positions), 4));
  refused("prompts[1].max_tokens", "at least 1", prompt_of(config, 3, 0));
  refused("prompts[1].temperature", "0 or more", prompt_of(config, 3, 4, {-0.5}));
  refused("prompts[1].top_p", "above 0", prompt_of(config, 3, 4, {1, 0}));
  expect_error(ErrorCode::kInvalidArgument, "prompts", "empty", [&] { generate_all(model, request_of({})); });
}

// Returns how often each token is drawn, as shares of 20,000 draws.
std::vector<double> shares_of(std::span<const float> logits, Sampling sampling, int64_t draws = 20000) {
  std::vector<double> shares(logits.size(), 0.0);
  for (int64_t i = 0; i < draws; i++) shares[choose_token(logits, sampling, i)] += 1.0 / static_cast<double>(draws);
  return shares;
}

TEST(Sampler, DrawsTokensAsOftenAsTheirProbabilitySays) {
  const std::vector<float> logits{0.0f, std::log(2.0f), std::log(4.0f), std::log(1.0f)};   // 1/8, 2/8, 4/8, 1/8
  const auto plain = shares_of(logits, {1, 1, 5}), cold = shares_of(logits, {0.5, 1, 5});  // cold: 1, 4, 16, 1 of 22
  const std::vector<double> expected{1 / 8.0, 2 / 8.0, 4 / 8.0, 1 / 8.0}, expected_cold{1 / 22.0, 4 / 22.0, 16 / 22.0, 1 / 22.0};
  for (size_t i = 0; i < 4; i++) {
    EXPECT_NEAR(plain[i], expected[i], 0.012);
    EXPECT_NEAR(cold[i], expected_cold[i], 0.012);
  }
}

TEST(Sampler, TakesOnlyTheLikeliestThatHaveTheShareTogether) {
  const std::vector<float> logits{0.0f, std::log(2.0f), std::log(4.0f), std::log(1.0f)};
  const auto shares = shares_of(logits, {1, 0.6, 5});  // 4/8 is not enough, 6/8 is
  EXPECT_EQ(shares[0] + shares[3], 0.0);
  EXPECT_NEAR(shares[2], 4 / 6.0, 0.012);
  EXPECT_NEAR(shares_of(logits, {1, 0.5, 5})[2], 1.0, 1e-9);
  EXPECT_NEAR(shares_of(logits, {1, 1e-9, 5})[2], 1.0, 1e-9);
}

TEST(Sampler, FindsALargeShareOfManyTokens) {
  const std::vector<float> even(1000, 0.5f);
  const auto shares = shares_of(even, {1, 0.9, 3}, 2000);
  EXPECT_GT(shares[899] + shares[0], 0.0);
  for (size_t i = 900; i < 1000; i++) EXPECT_EQ(shares[i], 0.0);  // among equally likely tokens those with the lower ids stay
}

TEST(Sampler, OfEqualLogitsTheFirstIsTheGreedyChoice) {
  EXPECT_EQ(choose_token(std::vector<float>{1, 3, 3, 2}, {}, 0), 1u);
  expect_error(ErrorCode::kInvalidArgument, "model", "not finite", [] { choose_token(std::vector<float>{1, NAN}, {}, 0); });
}

}  // namespace espalier::test

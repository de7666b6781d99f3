// Log-likelihoods of continuations equal those of a plain forward pass in double, whichever sequences are scored together.
#include "espalier/evaluation/scorer.h"

#include <algorithm>

#include "files/reference_forward.h"
#include "files/small_models.h"
#include "method/masks/masks.h"
#include "step/step_helpers.h"

namespace espalier::test {

using Ids = std::vector<uint32_t>;

Ids ids_of(int64_t vocab, int64_t count, uint32_t stream) {
  Ids ids;
  for (int64_t i = 0; i < count; i++) ids.push_back(static_cast<uint32_t>(random_uniform(7, 0, stream, i) * static_cast<double>(vocab)));
  return ids;
}

Ids joined(Ids a, const Ids& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::vector<SequenceScore> score(Scorer& scorer, const std::vector<std::pair<Ids, int64_t>>& asked) {
  std::vector<ScoredSequence> sequences;
  for (const auto& [ids, scored] : asked) sequences.push_back({ids, scored});
  const std::atomic<bool> cancel{false};
  return scorer.score(sequences, nullptr, cancel);
}

// Returns the log-likelihood of the last tokens, and whether each of them is the likeliest.
SequenceScore expected_of(const ReferenceForward& reference, const Ids& ids, int64_t scored) {
  const Rows logits = reference.logits(std::span(ids).first(ids.size() - 1));
  SequenceScore out{0.0, true};
  for (size_t t = ids.size() - 1 - static_cast<size_t>(scored); t + 1 < ids.size(); t++) {
    const std::vector<double>& row = logits[t];
    double sum = 0;
    for (const double v : row) sum += std::exp(v);
    out.log_likelihood += row[ids[t + 1]] - std::log(sum);
    out.greedy = out.greedy && std::max_element(row.begin(), row.end()) - row.begin() == ids[t + 1];
  }
  return out;
}

class Scoring : public testing::Test {
 protected:
  Scoring() : state_(model_->config(), LoraSpec{}) {
    state_.initialise(11);
    for (int64_t i = 0; i < state_.lora_size(); i++) state_.params()[i] = static_cast<float>(0.05 * random_normal(6, 0, 1, i));
    loosen_masks(state_);
  }

  // Makes questions: several continuations of one context, a context that begins another, an input that is asked twice, and a long input.
  std::vector<std::pair<Ids, int64_t>> questions(int64_t longest = 300) const {
    const int64_t vocab = model_->config().vocab_size;
    const Ids context = ids_of(vocab, 40, 1), other = ids_of(vocab, 25, 2);
    std::vector<std::pair<Ids, int64_t>> asked;
    for (uint32_t choice = 0; choice < 4; choice++) asked.emplace_back(joined(context, ids_of(vocab, 3 + choice, 10 + choice)), 3 + choice);
    for (const uint32_t answer : {5U, 6U, 5U}) asked.emplace_back(joined(other, {answer}), 1);
    asked.emplace_back(joined(Ids(context.begin(), context.begin() + 12), ids_of(vocab, 4, 20)), 4);
    asked.emplace_back(ids_of(vocab, longest, 30), longest - 1);
    asked.emplace_back(Ids{1, 2}, 1);
    return asked;
  }

  std::shared_ptr<const ModelWeights> model_ = load_model(tiny_model());
  TrainState state_;
};

TEST_F(Scoring, TheDoubleForwardPass) {
  const auto asked = questions();
  for (const TrainState* state : {static_cast<const TrainState*>(nullptr), static_cast<const TrainState*>(&state_)}) {
    const Masks masks = state ? deterministic_masks(model_->config(), *state) : Masks{};
    const ReferenceForward reference(*model_, state, masks);
    const auto scorer = Scorer::create(model_, state ? std::optional(*state) : std::nullopt, ComputeDType::kF32, on_threads(2));
    const auto scores = score(*scorer, asked);
    for (size_t i = 0; i < asked.size(); i++) {
      const SequenceScore expected = expected_of(reference, asked[i].first, asked[i].second);
      EXPECT_NEAR(scores[i].log_likelihood, expected.log_likelihood, 1e-4) << "sequence " << i;
      EXPECT_EQ(scores[i].greedy, expected.greedy) << "sequence " << i;
    }
  }
}

TEST_F(Scoring, EveryKindOfModel) {
  for (const SmallKind& kind : small_kinds()) {
    model_ = small_model(kind.config);
    const auto asked = questions(70);  // longer than each window and than a tile of queries
    const Masks all_open;
    const ReferenceForward reference(*model_, nullptr, all_open);
    const auto scores = score(*Scorer::create(model_, std::nullopt, ComputeDType::kF32, on_threads(2)), asked);
    for (size_t i = 0; i < asked.size(); i++)
      EXPECT_NEAR(scores[i].log_likelihood, expected_of(reference, asked[i].first, asked[i].second).log_likelihood,
                  1e-4 + 2e-6 * std::abs(scores[i].log_likelihood))
          << kind.name << ", sequence " << i;
  }
}

TEST_F(Scoring, TheLikeliestTokensAreGreedy) {
  const auto scorer = Scorer::create(model_, std::nullopt, ComputeDType::kF32, on_threads(1));
  const Masks all_open;
  const ReferenceForward reference(*model_, nullptr, all_open);
  Ids ids = ids_of(model_->config().vocab_size, 9, 4);
  for (int i = 0; i < 3; i++) {
    const std::vector<double> last = reference.logits(ids).back();
    ids.push_back(static_cast<uint32_t>(std::max_element(last.begin(), last.end()) - last.begin()));
  }
  Ids wrong = ids;
  wrong[10] = (wrong[10] + 1) % static_cast<uint32_t>(model_->config().vocab_size);
  const auto scores = score(*scorer, {{ids, 3}, {wrong, 3}});
  EXPECT_TRUE(scores[0].greedy);
  EXPECT_FALSE(scores[1].greedy);
}

// There are more rows than one pass takes, so that sequences with the same beginning come into several passes.
TEST_F(Scoring, ManySequencesAreAsEachByItself) {
  const int64_t vocab = model_->config().vocab_size;
  const Ids context = ids_of(vocab, 100, 1);
  std::vector<std::pair<Ids, int64_t>> asked;
  for (uint32_t i = 0; i < 60; i++)
    asked.emplace_back(joined(i % 3 == 0 ? ids_of(vocab, 80, i) : context, ids_of(vocab, 1 + i % 50, 100 + i)), 1 + i % 50);
  const auto scorer = Scorer::create(model_, state_, ComputeDType::kF32, on_threads(2));
  const auto together = score(*scorer, asked);
  for (size_t i = 0; i < asked.size(); i += 7)
    EXPECT_NEAR(together[i].log_likelihood, score(*scorer, {asked[i]})[0].log_likelihood, 1e-5) << "sequence " << i;
}

TEST_F(Scoring, ADeviceWithMemoryOfItsOwnHasTheSameBits) {
  BackendSpec hidden = on_threads(2);
  hidden.name = "hidden-memory";
  for (const ComputeDType dtype : {ComputeDType::kF32, ComputeDType::kBF16}) {
    const auto host = score(*Scorer::create(model_, state_, dtype, on_threads(2)), questions());
    const auto apart = score(*Scorer::create(model_, state_, dtype, hidden), questions());
    for (size_t i = 0; i < host.size(); i++) EXPECT_EQ(apart[i].log_likelihood, host[i].log_likelihood);
  }
}

TEST_F(Scoring, RefusesWhatTheModelCannotTake) {
  const auto scorer = Scorer::create(model_, std::nullopt, ComputeDType::kF32, on_threads(1));
  const int64_t vocab = model_->config().vocab_size, most = model_->config().max_positions;
  const auto refused = [&](const Ids& ids, int64_t scored, const char* message) {
    expect_error(ErrorCode::kInvalidArgument, "sequences", message, [&] { score(*scorer, {{ids, scored}}); });
  };
  refused({1, 2}, 0, "asks for 0");
  refused({1, 2}, 2, "asks for 2");
  refused({1, static_cast<uint32_t>(vocab)}, 1, "vocabulary");
  refused(ids_of(vocab, most + 2, 1), 1, "max_position_embeddings");
  EXPECT_LT(score(*scorer, {{ids_of(vocab, most + 1, 1), 1}})[0].log_likelihood, 0.0);
}

}  // namespace espalier::test

// The state after n steps is the same to the bit, however the steps were divided into segments, resumed, checkpointed or interrupted by
// teachers.
#include "espalier/base/error.h"
#include "espalier/evaluation/evaluate.h"
#include "files/small_models.h"
#include "method/masks/masks.h"
#include "step/step_helpers.h"

namespace espalier::test {

class Determinism : public testing::Test {
 protected:
  std::shared_ptr<const ModelWeights> model = light_model();

  std::unique_ptr<Trainer> session(bool checkpoint = false) {
    TrainerOptions options;
    options.checkpoint_activations = checkpoint;
    auto trainer = tiny_session(options, model);
    change_state(*trainer, loosen_masks);
    return trainer;
  }
};

TEST_F(Determinism, SegmentsMayBeCutAnywhere) {
  const auto whole = session(), cut = session();
  run(*whole, segment(0, 9));
  run(*cut, segment(0, 1));
  run(*cut, segment(1, 5));
  run(*cut, segment(6, 3));
  EXPECT_EQ(digest_of(*whole), digest_of(*cut));
  EXPECT_EQ(whole->step(), 9);
}

TEST_F(Determinism, ResumedFromItsBytes) {
  const auto whole = session(), first = session(), second = session();
  run(*whole, segment(0, 8));
  run(*first, segment(0, 4));
  const auto bytes = first->serialize();
  EXPECT_EQ(bytes, first->export_state().serialize());
  second->import_state(StateReader(bytes, model->config(), LoraSpec{}));
  run(*second, segment(4, 4));
  EXPECT_EQ(digest_of(*whole), digest_of(*second));
}

TEST_F(Determinism, ShardsAreResumedAndRecomputed) {
  const auto in_shards = [&](bool checkpoint) {
    TrainerOptions options;
    options.micro_shards = 2;
    options.checkpoint_activations = checkpoint;
    auto trainer = tiny_session(options, model);
    change_state(*trainer, loosen_masks);
    return trainer;
  };
  const auto whole = in_shards(false), cut = in_shards(true), resumed = in_shards(false), at_once = session();
  run(*whole, segment(0, 6));
  run(*cut, segment(0, 4));
  const auto bytes = cut->serialize();
  resumed->import_state(StateReader(bytes, model->config(), LoraSpec{}));
  run(*resumed, segment(4, 2));
  EXPECT_EQ(digest_of(*whole), digest_of(*resumed));
  run(*at_once, segment(0, 6));
  EXPECT_NE(digest_of(*whole), digest_of(*at_once)) << "sums are added in another order";
}

namespace {

StepProbe probe_of(const std::shared_ptr<const ModelWeights>& model, ComputeDType dtype, std::span<const uint32_t> ids, int64_t sequences,
                   int64_t shards) {
  TrainerOptions options;
  options.dtype = dtype;
  options.batch_size = sequences;
  options.micro_shards = shards;
  options.sequence_length = static_cast<int64_t>(ids.size()) / sequences;
  options.backend.threads = 2;
  const auto trainer = Trainer::create(model, LoraSpec{}, options);
  change_state(*trainer, [](TrainState& state) {
    state.initialise(4);
    for (int64_t i = 0; i < state.lora_size(); i++) state.params()[i] += static_cast<float>(0.01 * random_normal(6, 0, 1, i));
    loosen_masks(state);
  });
  StepProbe probe;
  probe.input_ids.assign(ids.begin(), ids.end());
  probe.student = probe.teacher = deterministic_masks(model->config(), trainer->log_alphas());
  std::fill(probe.teacher.head.begin(), probe.teacher.head.end(), 1.0f);
  trainer->probe(probe, {0.9, 0.1, 0.5, 2.0 / 3.0});
  return probe;
}

}  // namespace

// Four sequences in four shards must give the same bits as four steps of one sequence each, whose gradients the test adds in the same
// tree. A fourth of the loss gives exactly a fourth of every gradient.
TEST_F(Determinism, AShardIsComputedAsIfItWereAlone) {
  constexpr int64_t kSequences = 4, kTokens = 24;
  const auto tokens = random_tokens(model->config().vocab_size, kSequences * kTokens);
  for (const ComputeDType dtype : {ComputeDType::kF32, ComputeDType::kBF16}) {
    const StepProbe together = probe_of(model, dtype, tokens->ids, kSequences, kSequences);
    std::vector<float> in_order(together.grad_lora.size(), 0.0f), halves = in_order;
    std::vector<StepProbe> alone;
    for (int64_t s = 0; s < kSequences; s++)
      alone.push_back(probe_of(model, dtype, std::span(tokens->ids).subspan(s * kTokens, kTokens), 1, 1));
    double loss = 0;
    const auto part = [&](int64_t s, size_t i) { return alone[s].grad_lora[i] / kSequences; };
    for (size_t i = 0; i < halves.size(); i++) halves[i] = (part(0, i) + part(1, i)) + (part(2, i) + part(3, i));
    for (int64_t s = 0; s < kSequences; s++) {
      for (size_t i = 0; i < in_order.size(); i++) in_order[i] += part(s, i);
      loss += alone[s].loss / kSequences;
    }
    EXPECT_EQ(std::memcmp(together.grad_lora.data(), halves.data(), halves.size() * sizeof(float)), 0);
    EXPECT_NE(std::memcmp(together.grad_lora.data(), in_order.data(), in_order.size() * sizeof(float)), 0) << "the order of the sum counts";
    EXPECT_NEAR(together.loss, loss, 1e-12 * std::abs(loss));
    // The sums of a unit are f32 and may cancel, so their rounding error depends on the largest gradient, not on the unit's own.
    double largest = 0;
    for (const double gradient : together.grad_z.hidden) largest = std::max(largest, std::abs(gradient));
    for (size_t j = 0; j < together.grad_z.hidden.size(); j++) {
      double expected = 0;
      for (const StepProbe& one : alone) expected += one.grad_z.hidden[j] / double{kSequences};
      EXPECT_NEAR(together.grad_z.hidden[j], expected, 1e-6 * largest) << j << " of at most " << largest;
    }
  }
}

TEST_F(Determinism, ShardsMustDivideTheBatch) {
  TrainerOptions options;
  options.batch_size = 6;
  options.micro_shards = 4;
  try {
    Trainer::create(model, LoraSpec{}, options);
    ADD_FAILURE() << "was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.field(), "micro_shards");
    EXPECT_NE(std::string(error.what()).find("must divide batch_size, which is 6, is 4"), std::string::npos) << error.what();
  }
}

TEST_F(Determinism, CheckpointingAndTeacherSwitches) {
  const auto kept = session(), recomputed = session(true);
  TrainState snapshot = kept->export_state();
  for (float& p : snapshot.params()) p *= 0.9f;
  for (Trainer* t : {kept.get(), recomputed.get()}) {
    run(*t, segment(0, 2));
    t->use_teacher(snapshot);
    run(*t, segment(2, 3));
    t->use_intact_teacher();
    run(*t, segment(5, 2));
  }
  EXPECT_EQ(digest_of(*kept), digest_of(*recomputed));
  const auto other = session();
  run(*other, segment(0, 7));
  EXPECT_NE(digest_of(*kept), digest_of(*other)) << "the teacher matters";
}

TEST_F(Determinism, AKeptStudentTeachesAsItsSnapshot) {
  const auto kept = session(), copied = session();
  for (Trainer* t : {kept.get(), copied.get()}) {
    run(*t, segment(0, 3));
    const Masks masks = deterministic_masks(model->config(), t->log_alphas());
    const auto teacher = t == kept.get() ? t->keep_student(masks) : t->keep_teacher(t->export_snapshot());
    run(*t, segment(3, 1));
    t->use_teacher(teacher);
    run(*t, segment(4, 2));
  }
  EXPECT_EQ(digest_of(*kept), digest_of(*copied));
  const auto other = session();
  run(*other, segment(0, 6));
  EXPECT_NE(digest_of(*kept), digest_of(*other)) << "the teacher matters";
}

TEST_F(Determinism, CheckpointingOfEveryKindOfModel) {
  for (const SmallKind& kind : small_kinds()) {
    model = small_model(kind.config);
    const auto kept = session(), recomputed = session(true);
    for (Trainer* t : {kept.get(), recomputed.get()}) run(*t, segment(0, 3));
    EXPECT_EQ(digest_of(*kept), digest_of(*recomputed)) << kind.name;
  }
}

TEST_F(Determinism, AnEvaluationInBetweenChangesNothing) {
  const auto plain = session(), disturbed = session();
  const auto tokens = random_tokens(model->config().vocab_size, 200);
  const std::atomic<bool> cancel{false};
  run(*plain, segment(0, 4));
  run(*disturbed, segment(0, 2));
  const TrainState state = disturbed->export_snapshot();
  evaluate(model, &state, tokens->ids, 32, ComputeDType::kF32, on_threads(2), nullptr, cancel);
  run(*disturbed, segment(2, 2));
  EXPECT_EQ(digest_of(*plain), digest_of(*disturbed));
}

TEST_F(Determinism, ReportsAndStops) {
  const auto trainer = session();
  std::vector<StepReport> reports;
  std::atomic<bool> cancel{false};
  SegmentPlan plan = segment(0, 6);
  const int64_t done = trainer->run_segment(
      plan,
      [&](const StepReport& r) {
        reports.push_back(r);
        if (r.step == 2) cancel = true;
      },
      cancel);
  EXPECT_EQ(done, 3);
  ASSERT_EQ(reports.size(), 3u);
  EXPECT_EQ(reports[2].step, 2);
  EXPECT_GT(reports[0].loss, 0);
  EXPECT_TRUE(std::isnan(reports[0].lm_loss));
  EXPECT_LT(reports[0].open_units, model->config().layer_count * model->config().intermediate_size);
  cancel = false;
  plan = segment(3, 4);
  plan.stop_at_expected_sparsity = -1.0;
  EXPECT_EQ(trainer->run_segment(plan, nullptr, cancel), 1);
}

TEST_F(Determinism, NonFiniteStepsAreSkippedAndTold) {
  const auto trainer = session();
  run(*trainer, segment(0, 1));
  change_state(*trainer, [](TrainState& state) { state.params()[5] = NAN; });
  const TrainState before = trainer->export_state();
  StepReport report;
  const std::atomic<bool> cancel{false};
  trainer->run_segment(segment(1, 1), [&](const StepReport& r) { report = r; }, cancel);
  EXPECT_TRUE(report.skipped);
  const TrainState after = trainer->export_state();
  EXPECT_EQ(std::memcmp(before.params().data(), after.params().data(), before.size() * 4), 0);
  EXPECT_EQ(after.step, before.step + 1);
}

TEST_F(Determinism, RecoveryLearnsOnOpenUnitsAloneWithMomentsOfItsOwn) {
  const auto plan = [](int64_t first, int64_t count) {
    SegmentPlan p = segment(first, count);
    p.losses = {0.0, 0.0, 1.0, 2.0 / 3.0};
    p.train_masks = false;
    p.moments_from_step = 4;
    return p;
  };
  const auto whole = session(), cut = session(), dense = session();
  for (Trainer* t : {whole.get(), cut.get()}) run(*t, segment(0, 4));
  const TrainState pruned = whole->export_state();
  run(*whole, plan(4, 6));
  run(*cut, plan(4, 1));
  const auto bytes = cut->serialize();
  dense->import_state(StateReader(bytes, model->config(), LoraSpec{}));
  run(*dense, plan(5, 5));
  EXPECT_EQ(digest_of(*whole), digest_of(*dense)) << "a state holds all that a resumed recovery needs";
  const TrainState recovered = whole->export_state();
  const auto lora = static_cast<size_t>(pruned.lora_size()), all = static_cast<size_t>(pruned.size());
  EXPECT_EQ(std::memcmp(pruned.params().data() + lora, recovered.params().data() + lora, (all - lora) * 4), 0) << "masks are frozen";
  EXPECT_NE(std::memcmp(pruned.params().data(), recovered.params().data(), lora * 4), 0);
  // A closed unit has no gradient and no moment from earlier steps, so its rows stay unchanged.
  const Masks z = deterministic_masks(model->config(), LogAlphas(pruned));
  const StateLayout::Entry& up = *pruned.find("model.layers.0.mlp.up_proj.lora_B");
  const int64_t rank = up.shape[1];
  int64_t closed = 0;
  for (int64_t unit = 0; unit < up.shape[0]; unit++) {
    const int64_t at = up.offset + unit * rank;
    const bool same = std::memcmp(&pruned.params()[at], &recovered.params()[at], static_cast<size_t>(rank) * 4) == 0;
    if (z.intermediate[unit] != 0.0f) continue;
    closed++;
    EXPECT_TRUE(same) << "unit " << unit;
  }
  EXPECT_GT(closed, 0);
}

TEST_F(Determinism, LanguageModelRecipeNeedsNoTeacher) {
  const auto trainer = session();
  SegmentPlan plan = segment(0, 12);
  plan.losses = {0.0, 0.0, 1.0, 2.0 / 3.0};
  std::vector<double> losses;
  const std::atomic<bool> cancel{false};
  trainer->run_segment(
      plan,
      [&](const StepReport& r) {
        losses.push_back(r.lm_loss);
        EXPECT_TRUE(std::isnan(r.layer_loss));
      },
      cancel);
  ASSERT_EQ(losses.size(), 12u);
  for (double l : losses) EXPECT_NEAR(l, std::log(static_cast<double>(model->config().vocab_size)), 2.5);
}

}  // namespace espalier::test

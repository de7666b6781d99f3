// The scan of layers, against a plain forward pass in double, and its bits whatever interrupts it.
#include "training/scan.h"

#include "espalier/method/batch_order.h"
#include "files/reference_forward.h"
#include "method/masks/masks.h"
#include "step/step_helpers.h"
#include "training/trainer_impl.h"

namespace espalier::test {

namespace {

constexpr int64_t kTokens = 24, kCalibration = 5, kScored = 3;

std::vector<double> log_softmax(const std::vector<double>& logits) {
  double all = 0;
  for (const double v : logits) all += std::exp(v);
  std::vector<double> out;
  for (const double v : logits) out.push_back(v - std::log(all));
  return out;
}

}  // namespace

class Scanned : public testing::Test {
 protected:
  std::shared_ptr<const ModelWeights> model = load_model(tiny_model());
  const ModelConfig& config = model->config();
  std::shared_ptr<const TokenData> data = random_tokens(config.vocab_size, kTokens * 31);

  std::unique_ptr<Trainer> session(int64_t batch = 2, int threads = 2) const {
    TrainerOptions options;
    options.dtype = ComputeDType::kF32;
    options.batch_size = batch;
    options.sequence_length = kTokens;
    options.backend.threads = threads;
    options.scan_sequences = kScored;
    options.calibration_sequences = kCalibration;
    auto trainer = Trainer::create(model, LoraSpec{}, options);
    change_state(*trainer, [](TrainState& state) { state.initialise(11); });
    trainer->set_data(data);
    return trainer;
  }

  static SegmentPlan layers(int64_t count) {
    SegmentPlan plan;
    plan.seed = 3;
    plan.lora_learning_rate.assign(count, 0.0);
    plan.scheduled_sparsity.assign(count, 0.0);
    plan.one_shot = {Importance::kFisher, kCalibration};
    return plan;
  }

  static std::vector<LayerScan> scanned(Trainer& trainer, int64_t count) {
    run(trainer, layers(count));
    return trainer.last_scans();
  }

  static void expect_equal(const LayerScan& a, const LayerScan& b) {
    EXPECT_EQ(a.layer, b.layer);
    ASSERT_EQ(a.forms.size(), b.forms.size());
    for (size_t i = 0; i < a.forms.size(); i++) {
      EXPECT_EQ(a.forms[i].kept, b.forms[i].kept);
      EXPECT_EQ(a.forms[i].kl, b.forms[i].kl) << a.layer << " " << i;
      EXPECT_EQ(a.forms[i].loss, b.forms[i].loss) << a.layer << " " << i;
    }
  }
};

TEST_F(Scanned, WidthsAreEighthsInWholeBlocks) {
  EXPECT_EQ(scanned_widths(3), (std::vector<int64_t>{2, 1, 0}));
  EXPECT_EQ(scanned_widths(1), (std::vector<int64_t>{0}));
  EXPECT_EQ(scanned_widths(32), (std::vector<int64_t>{28, 24, 20, 16, 12, 8, 4, 0}));
  EXPECT_EQ(scanned_widths(1536), (std::vector<int64_t>{1344, 1152, 960, 768, 576, 384, 192, 0}));
  EXPECT_EQ(scanned_widths(1000), (std::vector<int64_t>{864, 736, 608, 480, 352, 224, 96, 0}));
}

// A layer without attention, or without an MLP, has nothing to fit. So its losses are those of a pass with closed masks.
TEST_F(Scanned, TheLossesWithoutABlockAreThoseOfAPlainForwardPass) {
  const auto trainer = session();
  const std::vector<LayerScan> found = scanned(*trainer, config.layer_count);
  ASSERT_EQ(static_cast<int64_t>(found.size()), config.layer_count);
  std::vector<std::vector<uint32_t>> texts;
  for (const int64_t row : batch_rows(3, 0, kCalibration + kScored, 31))
    texts.emplace_back(data->ids.begin() + row * kTokens, data->ids.begin() + (row + 1) * kTokens);
  texts.erase(texts.begin(), texts.begin() + kCalibration);
  const Masks open = open_masks(config);
  const ReferenceForward intact(*model, nullptr, open);
  for (const LayerScan& scan : found)
    for (const ScannedForm& one : scan.forms) {
      if (one.kept > 0) continue;
      Masks closed = open;
      std::vector<float>& part = one.attention ? closed.head : closed.intermediate;
      const int64_t count = one.attention ? config.head_count : config.intermediate_size;
      std::fill_n(part.begin() + scan.layer * count, count, 0.0f);
      const ReferenceForward pruned(*model, nullptr, closed);
      double kl = 0, loss = 0, tokens = 0, predictions = 0;
      for (const std::vector<uint32_t>& ids : texts) {
        const Rows is = pruned.logits(ids), should = intact.logits(ids);
        for (size_t t = 0; t < ids.size(); t++, tokens++) {
          const std::vector<double> q = log_softmax(is[t]), p = log_softmax(should[t]);
          for (size_t v = 0; v < q.size(); v++) kl += std::exp(p[v]) * (p[v] - q[v]);
          if (t + 1 == ids.size()) continue;
          loss += p[ids[t + 1]] - q[ids[t + 1]];
          predictions++;
        }
      }
      EXPECT_NEAR(one.kl, kl / tokens, 1e-5 + 1e-3 * kl / tokens) << scan.layer << " " << one.attention;
      EXPECT_NEAR(one.loss, loss / predictions, 1e-4) << scan.layer << " " << one.attention;
    }
}

TEST_F(Scanned, EachLayerHasAllWidthsAndTheWidestLosesLeast) {
  const auto trainer = session();
  const std::vector<LayerScan> found = scanned(*trainer, config.layer_count);
  EXPECT_EQ(trainer->step(), config.layer_count);
  const Masks left = deterministic_masks(config, trainer->log_alphas()), open = open_masks(config);
  EXPECT_EQ(left.head, open.head);
  EXPECT_EQ(left.intermediate, open.intermediate);
  EXPECT_EQ(left.hidden, open.hidden);
  const int64_t together = config.head_count / config.kv_head_count;
  for (const LayerScan& scan : found) {
    std::vector<int64_t> heads, units;
    for (const ScannedForm& one : scan.forms) (one.attention ? heads : units).push_back(one.kept);
    std::vector<int64_t> groups = scanned_widths(config.kv_head_count);
    for (int64_t& g : groups) g *= together;
    EXPECT_EQ(heads, groups);
    EXPECT_EQ(units, scanned_widths(config.intermediate_size));
    const auto& mlp = scan.forms;
    EXPECT_LT(mlp[heads.size()].kl, mlp.back().kl) << scan.layer;
    for (const ScannedForm& one : mlp) EXPECT_GT(one.kl, 0);
  }
}

TEST_F(Scanned, TheBitsDependNeitherOnSegmentsNorOnThreadsNorOnAnInterruption) {
  const int64_t count = config.layer_count;
  const auto whole = session();
  const std::vector<LayerScan> found = scanned(*whole, count);
  const auto parts = session(2, 1);
  for (int64_t l = 0; l < count; l++) {
    const std::vector<LayerScan> one = scanned(*parts, 1);
    ASSERT_EQ(one.size(), 1u);
    expect_equal(one[0], found[l]);
  }
  EXPECT_EQ(digest_of(*parts), digest_of(*whole));
  const auto later = session();
  change_state(*later, [&](TrainState& state) { state.step = count - 1; });
  expect_equal(scanned(*later, 1).at(0), found.back());
  const auto stopped = session();
  std::atomic<bool> cancel{false};
  SegmentPlan plan = layers(count);
  plan.on_calibrated = [&](double share) { cancel = cancel || share > 0.3; };
  EXPECT_EQ(stopped->run_segment(plan, nullptr, cancel), 0);
  EXPECT_EQ(stopped->step(), 0);
  EXPECT_TRUE(stopped->last_scans().empty());
  const std::vector<LayerScan> again = scanned(*stopped, count);
  for (int64_t l = 0; l < count; l++) expect_equal(again[l], found[l]);
}

TEST_F(Scanned, HasOneStepForEachLayer) {
  const auto trainer = session();
  expect_error(ErrorCode::kInvalidArgument, "scheduled_sparsity", "", [&] { scanned(*trainer, config.layer_count + 1); });
}

}  // namespace espalier::test

// Whole steps against the reference vectors: f32 and bf16, exact-sparse and dense, with and without checkpointing.
#include "step/step_helpers.h"

namespace espalier::test {

struct VectorCase {
  const char* model;
  ComputeDType dtype;
  bool exact_sparse, checkpoint;
};

class StepVectors : public testing::TestWithParam<VectorCase> {};

StepProbe probe_vectors(const VectorCase& c, const VectorFile& file, TrainState* layout = nullptr) {
  const auto model = load_model(std::string(c.model) == "gqa-random-tiny" ? tiny_model() : factbook_model());
  TrainerOptions options;
  options.dtype = c.dtype;
  options.batch_size = 2;
  options.sequence_length = 64;
  options.backend.threads = 2;
  options.exact_sparse = c.exact_sparse;
  options.checkpoint_activations = c.checkpoint;
  const auto trainer = Trainer::create(model, LoraSpec{}, options);
  TrainState state(trainer->layout());
  for (const TrainState::Entry& e : state.entries())
    if (e.offset < state.lora_size()) {
      const auto v = file.floats(e.name);
      std::copy(v.begin(), v.end(), state.view(e).begin());
    }
  StepProbe probe;
  probe.input_ids = file.ids();
  probe.student = file.masks("z");
  probe.teacher = file.masks("teacher_z");
  trainer->import_state(state);
  trainer->probe(probe, published_losses(64));
  probe.kl_loss *= 64;  // the file has the sum over a sequence
  if (layout) *layout = state;
  return probe;
}

TEST_P(StepVectors, AllLossesAndGradientsAgree) {
  const VectorFile file(GetParam().model);
  const bool f32 = GetParam().dtype == ComputeDType::kF32;
  const double tolerance = f32 ? 1e-5 : 7e-2;  // in bf16, the error that products of 8-bit mantissas leave after all layers
  TrainState layout(load_model(tiny_model())->config(), LoraSpec{});
  const StepProbe p = probe_vectors(GetParam(), file, &layout);
  EXPECT_NEAR(p.loss / file.floats("loss")[0], 1.0, f32 ? 1e-6 : 1e-2);
  EXPECT_NEAR(p.layer_loss / file.floats("layer_loss")[0], 1.0, f32 ? 1e-6 : 1e-2);
  EXPECT_NEAR(p.kl_loss / file.floats("kl_loss")[0], 1.0, f32 ? 1e-6 : 1e-2);
  EXPECT_LT(relative_error(p.grad_log_alpha.head, file.floats("grad_loga.head")), tolerance);
  EXPECT_LT(relative_error(p.grad_log_alpha.intermediate, file.floats("grad_loga.intermediate")), tolerance);
  EXPECT_LT(relative_error(p.grad_log_alpha.hidden, file.floats("grad_loga.hidden")), tolerance);
  for (const TrainState::Entry& e : layout.entries())
    if (e.offset < layout.lora_size()) {
      const std::vector<float> ours(p.grad_lora.begin() + e.offset, p.grad_lora.begin() + e.offset + e.size);
      EXPECT_LT(relative_error(ours, file.floats("grad." + e.name)), tolerance) << e.name;
    }
}

INSTANTIATE_TEST_SUITE_P(All, StepVectors,
                         testing::Values(VectorCase{"factbook-llama-3m", ComputeDType::kF32, true, false},
                                         VectorCase{"factbook-llama-3m", ComputeDType::kF32, false, true},
                                         VectorCase{"factbook-llama-3m", ComputeDType::kBF16, true, false},
                                         VectorCase{"gqa-random-tiny", ComputeDType::kF32, true, true},
                                         VectorCase{"gqa-random-tiny", ComputeDType::kF32, false, false},
                                         VectorCase{"gqa-random-tiny", ComputeDType::kBF16, true, false}),
                         [](const auto& info) {
                           std::string name = info.param.model;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name + (info.param.dtype == ComputeDType::kF32 ? "_f32" : "_bf16") +
                                  (info.param.exact_sparse ? "_sparse" : "_dense") + (info.param.checkpoint ? "_checkpoint" : "");
                         });

// Leaving closed parts out changes only the order of sums.
TEST(ExactSparse, AgreesWithTheDenseStep) {
  const VectorFile file("gqa-random-tiny");
  const StepProbe sparse = probe_vectors({"gqa-random-tiny", ComputeDType::kF32, true, false}, file);
  const StepProbe dense = probe_vectors({"gqa-random-tiny", ComputeDType::kF32, false, false}, file);
  EXPECT_NEAR(sparse.loss / dense.loss, 1.0, 1e-6);
  EXPECT_LT(relative_error(sparse.grad_lora, dense.grad_lora), 1e-5);
  EXPECT_LT(relative_error(sparse.grad_log_alpha.intermediate, dense.grad_log_alpha.intermediate), 1e-5);
}

TEST(Checkpointing, LeavesTheSameBits) {
  const VectorFile file("gqa-random-tiny");
  for (const ComputeDType dtype : {ComputeDType::kF32, ComputeDType::kBF16}) {
    const StepProbe kept = probe_vectors({"gqa-random-tiny", dtype, true, false}, file);
    const StepProbe again = probe_vectors({"gqa-random-tiny", dtype, true, true}, file);
    EXPECT_EQ(kept.loss, again.loss);
    EXPECT_EQ(kept.grad_lora, again.grad_lora);
    EXPECT_EQ(kept.grad_z.hidden, again.grad_z.hidden);
  }
}

}  // namespace espalier::test

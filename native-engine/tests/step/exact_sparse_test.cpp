// The step that leaves closed parts out, compared with the step that multiplies them by 0, over head sizes, groups, windows, biases and
// whole closed layers.
#include "step/step_helpers.h"

namespace espalier::test {

struct SparseCase {
  const char* name;
  int64_t head_dim, heads, kv_heads, window;
  bool bias;
  int closed_attention, closed_mlp;  // the number of a layer, or -1
  bool head_norms = false;           // norms on heads, and a layer without rotary embedding
};

class ExactSparseShapes : public testing::TestWithParam<SparseCase> {};

ModelConfig config_of(const SparseCase& p) {
  ModelConfig c;
  c.architecture = p.bias ? "Qwen2ForCausalLM" : p.window > 0 ? "MistralForCausalLM" : "LlamaForCausalLM";
  c.hidden_size = 72;
  c.layer_count = 3;
  c.vocab_size = 131;
  c.max_positions = 64;
  c.head_count = p.heads;
  c.kv_head_count = p.kv_heads;
  c.head_dim = p.head_dim;
  c.intermediate_size = 100;
  c.rms_norm_eps = 1e-5;
  c.rope_theta = 10000;
  c.sliding_window = p.window;
  c.qkv_bias = p.bias;
  c.head_norms = p.head_norms;
  LayerShape shape;
  shape.heads = p.heads;
  shape.kv_heads = p.kv_heads;
  shape.intermediate = c.intermediate_size;
  for (int64_t h = 0; h < p.heads; h++) shape.kv_head_of_query.push_back(static_cast<int32_t>(h * p.kv_heads / p.heads));
  c.layers.assign(static_cast<size_t>(c.layer_count), shape);
  c.layers[1].rotary = !p.head_norms;
  return c;
}

std::vector<float> half_closed(int64_t n, uint32_t stream) {
  std::vector<float> v(n);
  for (int64_t i = 0; i < n; i++) v[i] = std::clamp(static_cast<float>(2.5 * random_uniform(21, 0, stream, i) - 1.0), 0.0f, 1.0f);
  v[0] = 0.7f;  // keeps something of each layer that is not closed on purpose
  return v;
}

StepProbe step_of(const SparseCase& p, bool exact_sparse) {
  const std::shared_ptr<const ModelWeights> model = random_model(config_of(p), DType::kF32, 5);
  const ModelConfig& c = model->config();
  TrainerOptions options;
  options.dtype = ComputeDType::kF32;
  options.batch_size = 2;
  options.sequence_length = 37;
  options.backend.threads = 2;
  options.exact_sparse = exact_sparse;
  const auto trainer = Trainer::create(model, LoraSpec{}, options);
  change_state(*trainer, [](TrainState& state) {
    state.initialise(4);
    for (int64_t i = 0; i < state.lora_size(); i++) state.params()[i] = static_cast<float>(0.1 * random_normal(6, 0, 1, i));
  });
  StepProbe probe;
  const auto tokens = random_tokens(c.vocab_size, 2 * 37);
  probe.input_ids.assign(tokens->ids.begin(), tokens->ids.end());
  probe.student = {half_closed(c.layer_count * c.head_count, 1), half_closed(c.layer_count * c.intermediate_size, 2),
                   half_closed(c.hidden_size, 3)};
  for (int64_t l = 0; l < c.layer_count; l++) probe.student.head[l * c.head_count] = 0.4f;
  if (p.closed_attention >= 0) std::fill_n(probe.student.head.begin() + p.closed_attention * c.head_count, c.head_count, 0.0f);
  if (p.closed_mlp >= 0) std::fill_n(probe.student.intermediate.begin() + p.closed_mlp * c.intermediate_size, c.intermediate_size, 0.0f);
  probe.teacher = {half_closed(c.layer_count * c.head_count, 4), half_closed(c.layer_count * c.intermediate_size, 5),
                   half_closed(c.hidden_size, 6)};
  trainer->probe(probe, LossWeights{});
  return probe;
}

TEST_P(ExactSparseShapes, TheDenseStepUpToSummationOrder) {
  const StepProbe sparse = step_of(GetParam(), true), dense = step_of(GetParam(), false);
  EXPECT_NEAR(sparse.loss / dense.loss, 1.0, 1e-6);
  EXPECT_LT(relative_error(sparse.grad_lora, dense.grad_lora), 1e-5);
  EXPECT_LT(relative_error(sparse.grad_log_alpha.head, dense.grad_log_alpha.head), 1e-5);
  EXPECT_LT(relative_error(sparse.grad_log_alpha.intermediate, dense.grad_log_alpha.intermediate), 1e-5);
  EXPECT_LT(relative_error(sparse.grad_log_alpha.hidden, dense.grad_log_alpha.hidden), 1e-5);
  double norm = 0;
  for (const float g : sparse.grad_log_alpha.head) norm += std::abs(g);
  EXPECT_GT(norm, 0.0);
}

TEST(Probe, RefusesTokensOutsideTheVocabulary) {
  const std::shared_ptr<const ModelWeights> model = load_model(tiny_model());
  TrainerOptions options;
  options.batch_size = 1;
  options.sequence_length = 2;
  const auto trainer = Trainer::create(model, LoraSpec{}, options);
  StepProbe probe;
  for (const int64_t wrong : {int64_t{-1}, model->config().vocab_size, int64_t{1} << 40}) {
    probe.input_ids = {0, wrong};
    expect_error(ErrorCode::kInvalidArgument, "input_ids", "vocabulary", [&] { trainer->probe(probe, LossWeights{}); });
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, ExactSparseShapes,
    testing::Values(SparseCase{"dim32", 32, 4, 4, 0, false, -1, -1}, SparseCase{"dim64_groups", 64, 4, 2, 0, false, 1, -1},
                    SparseCase{"dim80_one_kv_head", 80, 3, 1, 0, false, -1, 0}, SparseCase{"dim96", 96, 2, 2, 0, false, 0, -1},
                    SparseCase{"dim96_layer_closed", 96, 4, 2, 0, false, 2, 2}, SparseCase{"dim128_bias", 128, 4, 2, 0, true, 1, 1},
                    SparseCase{"dim256_window", 256, 2, 1, 9, false, -1, -1}, SparseCase{"dim22_window_closed", 22, 6, 3, 33, false, 0, 1},
                    SparseCase{"dim22_head_norms", 22, 6, 3, 0, false, 0, 1, true},
                    SparseCase{"dim64_head_norms", 64, 4, 2, 0, false, -1, -1, true}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace espalier::test

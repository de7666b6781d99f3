// The step's gradients, for each loss alone, against central differences of a plain forward pass in double.
#include "files/reference_forward.h"
#include "files/small_models.h"
#include "step/step_helpers.h"

namespace espalier::test {

constexpr int64_t kTokens = 12;
constexpr double kTemperature = 2.0 / 3.0;

struct LossCase {
  const char* name;
  LossWeights weights;
  int64_t sequences = 1, shards = 1;
  nlohmann::json small_model = {};  // empty for a LLaMA whose weights are stored in bf16
};

class Gradients : public testing::TestWithParam<LossCase> {
 protected:
  std::shared_ptr<const ModelWeights> model = GetParam().small_model.empty() ? light_model() : small_model(GetParam().small_model);
  int64_t sequences = GetParam().sequences;
  std::vector<uint32_t> ids = random_tokens(model->config().vocab_size, kTokens* sequences)->ids;
  Masks z, teacher;
  std::unique_ptr<Trainer> trainer;
  TrainState state{model->config(), LoraSpec{}};
  ReferenceForward student{*model, &state, z};
  StepProbe probe;
  std::vector<std::vector<Rows>> teacher_layers;  // the layers of the teacher for each sequence
  std::vector<Rows> teacher_logits;

  void SetUp() override {
    TrainerOptions options;
    options.dtype = ComputeDType::kF32;
    options.batch_size = sequences;
    options.micro_shards = GetParam().shards;
    options.sequence_length = kTokens;
    options.backend.threads = 2;
    trainer = Trainer::create(model, LoraSpec{}, options);
    state.initialise(4);
    for (int64_t i = 0; i < state.lora_size(); i++) state.params()[i] = static_cast<float>(0.1 * random_normal(6, 0, 1, i));
    trainer->import_state(state);
    z = soft_masks(1);
    std::fill_n(z.head.begin() + model->config().head_count, model->config().head_count, 0.0f);  // one layer has no attention
    teacher = soft_masks(11);
    probe.input_ids.assign(ids.begin(), ids.end());
    probe.student = z;
    probe.teacher = teacher;
    trainer->probe(probe, GetParam().weights);
    const ReferenceForward of_teacher(*model, nullptr, teacher);
    for (int64_t s = 0; s < sequences; s++) teacher_logits.push_back(of_teacher.logits(sequence(s), teacher_layers.emplace_back()));
  }

  std::span<const uint32_t> sequence(int64_t s) const { return std::span(ids).subspan(s * kTokens, kTokens); }

  // Makes masks of which about a sixth are closed and a sixth open; the others lie between.
  Masks soft_masks(uint32_t stream) const {
    const ModelConfig& c = model->config();
    const auto soft = [](int64_t n, uint32_t s) {
      std::vector<float> v(n);
      for (int64_t i = 0; i < n; i++) v[i] = std::clamp(static_cast<float>(1.5 * random_uniform(8, 0, s, i) - 0.25), 0.0f, 1.0f);
      return v;
    };
    return {soft(c.layer_count * c.head_count, stream), soft(c.layer_count * c.intermediate_size, stream + 1),
            soft(c.hidden_size, stream + 2)};
  }

  double layer_loss(const std::vector<Rows>& layers, const std::vector<Rows>& teacher_rows) const {
    std::vector<size_t> open;
    for (size_t j = 0; j < z.hidden.size(); j++)
      if (z.hidden[j] != 0.0f) open.push_back(j);
    return mean_layer_loss(GetParam().weights.layer_scale, layers, teacher_rows, open, open) / static_cast<double>(sequences);
  }

  static std::vector<double> log_softmax(const std::vector<double>& logits) {
    double total = 0;
    for (const double v : logits) total += std::exp(v / kTemperature);
    std::vector<double> out;
    for (const double v : logits) out.push_back(v / kTemperature - std::log(total));
    return out;
  }

  double kl_loss(const Rows& logits, const Rows& teacher_rows) const {
    double total = 0;
    for (size_t t = 0; t < logits.size(); t++) {
      const std::vector<double> q = log_softmax(logits[t]), p = log_softmax(teacher_rows[t]);
      for (size_t j = 0; j < p.size(); j++) total += std::exp(p[j]) * (p[j] - q[j]);
    }
    return total * kTemperature * kTemperature / static_cast<double>(kTokens * sequences);
  }

  double loss() const {
    const LossWeights& w = GetParam().weights;
    double total = 0;
    for (int64_t s = 0; s < sequences; s++) {
      if (w.lm != 0) {
        total += w.lm * student.negative_log_likelihood(sequence(s)) / static_cast<double>(sequences);
        continue;
      }
      std::vector<Rows> layers;
      const Rows logits = student.logits(sequence(s), layers);
      total += w.layer * layer_loss(layers, teacher_layers[s]) + w.kl * kl_loss(logits, teacher_logits[s]);
    }
    return total;
  }

  void expect_derivative(float& value, double gradient, const std::string& name) {
    const float at = value;
    value = at + 1e-3f;
    const double high_at = value, high = loss();
    value = at - 1e-3f;
    const double low_at = value, low = loss();
    value = at;
    const double expected = (high - low) / (high_at - low_at);
    EXPECT_NEAR(gradient, expected, 1e-5 + 1e-3 * std::abs(expected)) << name;
  }
};

TEST_P(Gradients, OfLoraOfEveryProjection) {
  const double expected = loss();
  EXPECT_NEAR(probe.loss, expected, 2e-6 * std::abs(expected));
  for (int64_t l = 0; l < model->config().layer_count; l++)
    for (int p = 0; p < kProjectionCount; p++)
      for (const TrainState::Entry* e : {state.lora_a(l, static_cast<Projection>(p)), state.lora_b(l, static_cast<Projection>(p))}) {
        // The largest entry of the gradient is the best one to check.
        int64_t best = e->offset;
        for (int64_t i = e->offset; i < e->offset + e->size; i++)
          if (std::abs(probe.grad_lora[i]) > std::abs(probe.grad_lora[best])) best = i;
        expect_derivative(state.params()[best], probe.grad_lora[best], e->name);
      }
}

TEST_P(Gradients, OfEveryKindOfMask) {
  const auto check = [&](std::vector<float>& values, const std::vector<float>& gradient, int64_t stride, const char* name) {
    for (size_t i = 0; i < values.size(); i += stride)
      if (values[i] > 0.05f && values[i] < 0.95f) expect_derivative(values[i], gradient[i], name + std::to_string(i));
  };
  check(z.head, probe.grad_z.head, 3, "head ");
  check(z.intermediate, probe.grad_z.intermediate, 41, "unit ");
  check(z.hidden, probe.grad_z.hidden, 9, "hidden ");
}

INSTANTIATE_TEST_SUITE_P(Of, Gradients,
                         testing::Values(LossCase{"layer", {1.0, 0.0, 0.0, kTemperature}},
                                         LossCase{"squared_layer", {1.0, 0.0, 0.0, kTemperature, LayerLossScale::kSquared}},
                                         LossCase{"kl", {0.0, 1.0, 0.0, kTemperature}}, LossCase{"lm", {0.0, 0.0, 1.0, kTemperature}},
                                         LossCase{"the_method", published_losses(kTokens)},
                                         LossCase{"the_method_in_shards", {0.9, 0.1, 0.0, kTemperature}, 3, 3},
                                         LossCase{"lm_in_shards", {0.0, 0.0, 1.0, kTemperature}, 4, 2}),
                         [](const auto& info) { return std::string(info.param.name); });

std::vector<LossCase> losses_of_small_kinds() {
  std::vector<LossCase> cases;
  for (const SmallKind& kind : small_kinds()) cases.push_back({kind.name, {0.9, 0.1, 0.0, kTemperature}, 1, 1, kind.config});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(OfKind, Gradients, testing::ValuesIn(losses_of_small_kinds()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace espalier::test

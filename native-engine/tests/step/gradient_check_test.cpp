// The step's gradients against finite differences of a plain forward pass in double (central, step 1e-4).
#include "files/reference_forward.h"
#include "step/step_helpers.h"

namespace espalier::test {

constexpr int64_t kTokens = 12;

struct LmGradients : testing::Test {
  std::shared_ptr<const ModelWeights> model = load_model(tiny_model());
  std::vector<uint32_t> ids = random_tokens(2048, kTokens)->ids;
  Masks z;
  std::unique_ptr<Trainer> trainer;
  StepProbe probe;

  void SetUp() override {
    TrainerOptions options;
    options.dtype = ComputeDType::kF32;
    options.batch_size = 1;
    options.sequence_length = kTokens;
    options.threads = 2;
    trainer = Trainer::create(model, LoraSpec{}, options);
    TrainState& state = trainer->state();
    state.initialise(4);
    for (int64_t i = 0; i < state.lora_size(); i++) state.params()[i] = static_cast<float>(0.1 * random_normal(6, 0, 1, i));
    const ModelConfig& c = model->config();
    const auto soft = [&](int64_t n, uint32_t stream) {
      std::vector<float> v(n);
      for (int64_t i = 0; i < n; i++) v[i] = std::clamp(static_cast<float>(1.5 * random_uniform(8, 0, stream, i) - 0.25), 0.0f, 1.0f);
      return v;
    };
    z = {soft(c.layer_count * c.head_count, 1), soft(c.layer_count * c.intermediate_size, 2), soft(c.hidden_size, 3)};
    probe.input_ids.assign(ids.begin(), ids.end());
    probe.student = probe.teacher = z;
    trainer->probe(probe, {0.0, 0.0, 1.0, 2.0 / 3.0});
  }

  double loss() const { return ReferenceForward(*model, &trainer->state(), z).negative_log_likelihood(ids); }

  void expect_derivative(float& value, double gradient, const std::string& name) {
    const float at = value;
    value = at + 1e-2f;
    const double high_at = value, high = loss();
    value = at - 1e-2f;
    const double low_at = value, low = loss();
    value = at;
    const double expected = (high - low) / (high_at - low_at);
    EXPECT_NEAR(gradient, expected, 2e-5 + 5e-3 * std::abs(expected)) << name;
  }
};

TEST_F(LmGradients, OfLoraOfEveryProjection) {
  TrainState& state = trainer->state();
  EXPECT_NEAR(probe.loss, loss(), 1e-5);
  for (int64_t l = 0; l < model->config().layer_count; l += 2)
    for (int p = 0; p < kProjectionCount; p++)
      for (const TrainState::Entry* e : {state.lora_a(l, static_cast<Projection>(p)), state.lora_b(l, static_cast<Projection>(p))}) {
        // The largest entry of the gradient says most.
        int64_t best = e->offset;
        for (int64_t i = e->offset; i < e->offset + e->size; i++)
          if (std::abs(probe.grad_lora[i]) > std::abs(probe.grad_lora[best])) best = i;
        expect_derivative(state.params()[best], probe.grad_lora[best], e->name);
      }
}

TEST_F(LmGradients, OfEveryKindOfMask) {
  const auto check = [&](std::vector<float>& values, const std::vector<float>& gradient, int64_t stride, const char* name) {
    for (size_t i = 0; i < values.size(); i += stride)
      if (values[i] > 0.05f && values[i] < 0.95f) expect_derivative(values[i], gradient[i], name + std::to_string(i));
  };
  check(z.head, probe.grad_z.head, 3, "head ");
  check(z.intermediate, probe.grad_z.intermediate, 41, "unit ");
  check(z.hidden, probe.grad_z.hidden, 9, "hidden ");
}

}  // namespace espalier::test

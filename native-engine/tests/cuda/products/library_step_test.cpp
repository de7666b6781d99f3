// A step whose products a library makes: its results beside those of the own kernels and the reference vectors, and what the own kernels
// still read.
#include "counters.h"
#include "cuda/products/product_case.h"
#include "cuda/products/with_library.h"
#include "cuda/reference_step.h"

namespace espalier::test {

namespace {

// Returns a step of 512 rows, which a library takes under its own limits. The keys and values are narrower than its least product, and some
// hidden units and units are closed.
StepProbe step_of_many_rows() {
  static const auto model = std::make_shared<SmallModel>(parse_small({{"architectures", {"LlamaForCausalLM"}},
                                                                      {"hidden_size", 144},
                                                                      {"num_hidden_layers", 2},
                                                                      {"num_attention_heads", 8},
                                                                      {"num_key_value_heads", 2},
                                                                      {"intermediate_size", 192},
                                                                      {"vocab_size", 160}}),
                                                         9, DType::kBF16);
  TrainerOptions options = library_options("early");
  options.dtype = ComputeDType::kBF16;
  options.batch_size = 4;
  options.sequence_length = 128;
  const auto trainer = Trainer::create(model, LoraSpec{}, options);
  change_state(*trainer, [](TrainState& state) {
    state.initialise(11);
    for (int64_t i = 0; i < state.lora_size(); i++) state.params()[i] = static_cast<float>(0.1 * random_normal(6, 0, 1, i));
  });
  StepProbe probe;
  const auto tokens = random_tokens(model->config().vocab_size, 512);
  probe.input_ids.assign(tokens->ids.begin(), tokens->ids.end());
  probe.student = deterministic_masks(model->config(), trainer->log_alphas());
  probe.teacher = open_masks(model->config());
  for (size_t i = 0; i < probe.student.intermediate.size(); i += 5) probe.student.intermediate[i] = 0;
  for (size_t i = 0; i < probe.student.hidden.size(); i += 7) probe.student.hidden[i] = 0;
  trainer->probe(probe, LossWeights{});
  return probe;
}

}  // namespace

TEST(LibraryStep, AgreesWithTheReferenceVectors) {
  const WithLibrary library;
  cuda::emulated::library_limits().sums = 1 << 20;
  const int64_t before = products_made();
  expect_reference_vectors(emulated_card("early"), ComputeDType::kBF16);
  EXPECT_GT(products_made(), before + 30);
}

// The sums of both ways differ in their order, and a tensor core cuts them off: by some 5e-7 of their size. So about one of 8,000 rounded
// values becomes another one of bf16, 2^-8 away. That is 4e-5 of all values, a 25th of what rounding itself changes. The test with the
// reference vectors allows a whole step an error of 7e-2 from rounding, and a 25th of that is 3e-3. Twice as much is allowed.
TEST(LibraryStep, OfManyRowsAgreesWithTheOwnKernels) {
  constexpr double kTolerance = 6e-3;
  const StepProbe own = step_of_many_rows();
  const WithLibrary library;
  const cuda::emulated::LibraryLimits usual{256, 128};
  cuda::emulated::library_limits() = usual;
  const int64_t before = products_made();
  const StepProbe made = step_of_many_rows();
  EXPECT_GT(products_made(), before + 20);
  EXPECT_NE(made.grad_lora, own.grad_lora);
  EXPECT_NEAR(made.loss / own.loss, 1.0, 1e-4);
  EXPECT_LT(relative_error(made.grad_lora, own.grad_lora), kTolerance);
  EXPECT_LT(relative_error(made.grad_z.head, own.grad_z.head), kTolerance);
  EXPECT_LT(relative_error(made.grad_z.intermediate, own.grad_z.intermediate), kTolerance);
  EXPECT_LT(relative_error(made.grad_z.hidden, own.grad_z.hidden), kTolerance);
}

// LoRA's narrow products stay with the own kernel. Forward, projections of one x read it once; backward, each gradient is read once.
TEST(LibraryStep, NarrowProductsReadEachActivationOnce) {
  const WithLibrary library;
  cuda::emulated::library_limits().sums = 1 << 20;
  const auto model = light_model();
  const auto trainer = tiny_session(library_options("early"), model);
  StepProbe probe;
  probe.student = probe.teacher = open_masks(model->config());
  probe.input_ids.assign(2 * 24, 7);
  const cuda::emulator::Counting counting;
  trainer->probe(probe, LossWeights{});
  constexpr uint64_t kRows = 48, kRank = 8, kHidden = 64, kKv = 32, kUnits = 160;
  const auto layers = static_cast<uint64_t>(model->config().layer_count);
  // The bytes of an activation, of LoRA's packed factor and of the result.
  const auto product = [](uint64_t depth, uint64_t cols) { return 2 * (kRows * depth + depth * cols + kRows * cols); };
  const uint64_t forward = product(kHidden, 3 * kRank) + product(kHidden, kRank) + product(kHidden, 2 * kRank) + product(kUnits, kRank);
  const uint64_t backward = 3 * product(kHidden, kRank) + 2 * product(kKv, kRank) + 2 * product(kUnits, kRank);
  EXPECT_EQ(counting.of("product_bf16").launches, layers * (4 + 7));
  EXPECT_EQ(counting.of("product_bf16").global_bytes, layers * (forward + backward));
}

}  // namespace espalier::test

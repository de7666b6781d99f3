// The whole engine with the CUDA backend on the emulator: a step against the reference vectors, and a session whose bits do not depend on
// the orders that the device is free to choose.
#include <map>
#include <optional>

#include "counters.h"
#include "cuda/reference_step.h"
#include "cuda_emulator/device_memory.h"
#include "cuda_emulator/emulated_kind.h"
#include "cuda_emulator/emulator.h"
#include "espalier/base/error.h"
#include "espalier/evaluation/evaluate.h"
#include "espalier/evaluation/scorer.h"
#include "files/small_models.h"
#include "on_device/device_model.h"
#include "step/step_helpers.h"

namespace espalier::test {

namespace {

TrainerOptions on_emulated(const std::string& behaviour, ComputeDType dtype) {
  TrainerOptions options;
  options.dtype = dtype;
  options.backend = emulated_card(behaviour);
  return options;
}

// Returns the emulated card and the first real one that can be used.
std::vector<BackendSpec> cards() {
  std::vector<BackendSpec> all{emulated_card("early")};
  for (const DeviceDescription& d : list_devices())
    if (d.problem.empty() && d.name.starts_with("cuda") && all.size() < 2) all.push_back(parse_device(d.name, 0));
  return all;
}

std::optional<BackendSpec> processor() {
  for (const DeviceDescription& d : list_devices())
    if (d.name == "cpu") return parse_device(d.name, 2);
  return std::nullopt;
}

}  // namespace

TEST(CudaStep, AgreesWithTheReferenceVectors) {
  for (const BackendSpec& card : cards())
    for (const ComputeDType dtype : {ComputeDType::kF32, ComputeDType::kBF16}) expect_reference_vectors(card, dtype);
}

// Tests in f32 also norms of heads and layers without rotary embedding. The check of a real card is built without the processor's backend;
// there the emulated card, which agrees with the processor, takes its place.
TEST(CudaStep, AgreesWithTheProcessorOnEveryKindOfModel) {
  for (const SmallKind& kind : small_kinds()) {
    const auto model = small_model(kind.config);
    const auto probed = [&](const BackendSpec& backend) {
      TrainerOptions options;
      options.dtype = ComputeDType::kF32;
      options.backend = backend;
      const auto trainer = tiny_session(options, model);
      change_state(*trainer, [](TrainState& state) {
        for (int64_t i = 0; i < state.lora_size(); i++) state.params()[i] = static_cast<float>(0.1 * random_normal(6, 0, 1, i));
      });
      StepProbe probe;
      const auto tokens = random_tokens(model->config().vocab_size, 2 * 24);
      probe.input_ids.assign(tokens->ids.begin(), tokens->ids.end());
      probe.student = probe.teacher = deterministic_masks(model->config(), trainer->log_alphas());
      for (size_t i = 0; i < probe.student.head.size(); i += 5) probe.student.head[i] = 0;
      for (size_t i = 0; i < probe.student.hidden.size(); i += 7) probe.student.hidden[i] = 0;
      trainer->probe(probe, LossWeights{});
      return probe;
    };
    const BackendSpec yardstick = processor().value_or(emulated_card("early"));
    const StepProbe expected = probed(yardstick);
    for (const BackendSpec& card : cards()) {
      if (card.name == yardstick.name) continue;
      const StepProbe found = probed(card);
      EXPECT_NEAR(found.loss / expected.loss, 1.0, 1e-5) << kind.name;
      EXPECT_LT(relative_error(found.grad_lora, expected.grad_lora), 1e-4) << kind.name;
      EXPECT_LT(relative_error(found.grad_log_alpha.head, expected.grad_log_alpha.head), 1e-4) << kind.name;
      EXPECT_LT(relative_error(found.grad_log_alpha.intermediate, expected.grad_log_alpha.intermediate), 1e-4) << kind.name;
      EXPECT_LT(relative_error(found.grad_log_alpha.hidden, expected.grad_log_alpha.hidden), 1e-4) << kind.name;
    }
  }
}

// The model has grouped queries. The session has masks that close, a teacher and an update.
TEST(CudaStep, ASessionLeavesTheSameBitsHoweverTheDeviceOrders) {
  const auto model = light_model();
  for (const int64_t shards : {1, 2})
    for (const ComputeDType dtype : {ComputeDType::kF32, ComputeDType::kBF16}) {
      std::string expected;
      for (const char* behaviour : {"early", "late", "late:7"}) {
        TrainerOptions options = on_emulated(behaviour, dtype);
        options.micro_shards = shards;
        const auto trainer = tiny_session(options, model);
        change_state(*trainer, loosen_masks);
        run(*trainer, segment(0, 2));
        const std::string digest = digest_of(*trainer);
        if (expected.empty()) expected = digest;
        EXPECT_EQ(digest, expected) << behaviour << ", " << shards << " shards";
      }
    }
}

namespace {

std::string digest_with_weights(const char* behaviour, bool streamed, int64_t shards, bool checkpoint) {
  TrainerOptions options = on_emulated(behaviour, ComputeDType::kBF16);
  options.stream_weights = streamed;
  options.micro_shards = shards;
  options.checkpoint_activations = checkpoint;
  const auto trainer = tiny_session(options, light_model());
  change_state(*trainer, loosen_masks);
  run(*trainer, segment(0, 2));
  return digest_of(*trainer);
}

// Trains under three teachers, one after the other. A teacher is expected or not, and it is announced in time or changed at the last
// moment.
std::string digest_under_teachers(const char* behaviour, bool expect) {
  const auto trainer = tiny_session(on_emulated(behaviour, ComputeDType::kBF16), light_model());
  change_state(*trainer, loosen_masks);
  std::vector<std::shared_ptr<const Teacher>> teachers;
  for (int i = 0; i < 3; i++) {
    TrainState snapshot = trainer->export_snapshot();
    for (float& p : snapshot.params().first(static_cast<size_t>(snapshot.lora_size()))) p += 0.02f * static_cast<float>(i + 1);
    teachers.push_back(trainer->keep_teacher(snapshot));
  }
  const std::array<int, 4> order{0, 1, 2, 0};
  const std::array<std::vector<int>, 4> told{{{2, 1}, {2}, {1}, {}}};  // the first announcement is changed, the third is wrong
  for (int64_t i = 0; i < 4; i++) {
    trainer->use_teacher(teachers[order[i]]);
    for (const int next : told[i])
      if (expect) trainer->expect_teacher(teachers[next]);
    run(*trainer, segment(i, 1));
  }
  trainer->expect_teacher(teachers[2]);  // this teacher is expected, but never used
  return digest_of(*trainer);
}

}  // namespace

// Three layers take turns in two places of memory.
TEST(CudaStep, StreamedWeightsLeaveTheSameBits) {
  EXPECT_EQ(digest_with_weights("late-ops", true, 2, true), digest_with_weights("early", false, 2, true));
}

// Whichever queue lags behind, no op reads another layer's weights, and no op runs too early.
TEST(CudaStep, StreamedWeightsLeaveTheSameBitsHoweverItsQueuesRun) {
  const std::string kept = digest_with_weights("early", false, 1, false);
  for (const char* behaviour : {"early", "late", "late:7", "late-copies", "late-ops"})
    EXPECT_EQ(digest_with_weights(behaviour, true, 1, false), kept) << behaviour;
}

TEST(CudaStep, ATeacherThatComesAheadLeavesTheSameBits) {
  EXPECT_EQ(digest_under_teachers("late", true), digest_under_teachers("early", false));
}

TEST(CudaStep, ATeacherThatComesAheadLeavesTheSameBitsHoweverItsQueuesRun) {
  const std::string expected = digest_under_teachers("early", false);
  for (const char* behaviour : {"early", "late-copies", "late-ops"})
    EXPECT_EQ(digest_under_teachers(behaviour, true), expected) << behaviour;
}

// Memory is cleared in another queue than the one of the copies: it must be cleared first, even if nothing else waits.
TEST(CudaStep, AStreamedLayerIsWhole) {
  const auto model = light_model();
  for (const char* behaviour : {"late-ops", "late-copies"}) {
    const std::unique_ptr<Backend> backend = make_backend(emulated_card(behaviour));
    const DeviceModel weights(*backend, model, true);
    weights.enter(1);
    for (int p = 0; p < kProjectionCount; p++) {
      const StoredMatrix m = weights.projection(1, static_cast<Projection>(p));
      const auto bytes = download<std::byte>(*backend, m.data, m.rows * m.cols * dtype_bytes(m.dtype));
      EXPECT_EQ(std::memcmp(bytes.data(), model->layer(1).proj[p].data, bytes.size()), 0) << p;
    }
    EXPECT_THROW(weights.projection(0, kQ), Error);
  }
}

// An evaluation between two steps uses the run's weights and the memory of its steps. The bits of both stay the same, and no second copy is
// made.
TEST(CudaStep, AnEvaluationBesideARunUsesItsWeights) {
  const auto model = light_model();
  const auto tokens = random_tokens(model->config().vocab_size, 5 * 24);
  const std::atomic<bool> cancel{false};
  for (const bool streamed : {false, true}) {
    TrainerOptions options = on_emulated(streamed ? "late" : "early", ComputeDType::kBF16);
    options.stream_weights = streamed;
    const auto beside = tiny_session(options, model), alone = tiny_session(options, model);
    for (const auto& trainer : {beside.get(), alone.get()}) {
      change_state(*trainer, loosen_masks);
      run(*trainer, segment(0, 1));
    }
    const TrainState state = beside->export_snapshot();
    const auto loss = [&](const std::shared_ptr<const DeviceHome>& home) {
      return evaluate(model, &state, tokens->ids, 24, ComputeDType::kBF16, options.backend, nullptr, cancel, home).negative_log_likelihood;
    };
    const auto score = [&](const std::shared_ptr<const DeviceHome>& home) {
      const std::vector<ScoredSequence> asked{{std::span(tokens->ids).first(30), 7}, {std::span(tokens->ids).first(12), 3}};
      const auto scorer = Scorer::create(model, state, ComputeDType::kBF16, options.backend, home);
      std::vector<double> found;
      for (const SequenceScore& s : scorer->score(asked, nullptr, cancel)) found.push_back(s.log_likelihood);
      return found;
    };
    // Returns the loss, and the device memory that the evaluation takes for itself.
    const auto measured = [&](const std::shared_ptr<const DeviceHome>& home) {
      cuda::emulator::take_peak_bytes();
      const uint64_t before = cuda::emulator::take_peak_bytes();
      const double value = loss(home);
      return std::pair{value, cuda::emulator::take_peak_bytes() - before};
    };
    const auto [expected, by_itself] = measured(nullptr);
    const auto [found, shared] = measured(beside->home(options.backend));
    EXPECT_EQ(found, expected);
    EXPECT_LT(shared, by_itself / 2);
    EXPECT_EQ(score(beside->home(options.backend)), score(nullptr));
    // The state is read in its place, too.
    const auto in_place = beside->home(options.backend, true);
    const auto perplexity = [&](const TrainState* of, const std::shared_ptr<const DeviceHome>& home) {
      return evaluate(model, of, tokens->ids, 24, ComputeDType::kBF16, options.backend, nullptr, cancel, home).negative_log_likelihood;
    };
    EXPECT_EQ(perplexity(nullptr, in_place), perplexity(&state, nullptr));
    if (const auto other = processor()) EXPECT_FALSE(beside->home(*other)) << "another device";
    for (const auto& trainer : {beside.get(), alone.get()}) run(*trainer, segment(1, 1));
    EXPECT_EQ(digest_of(*beside), digest_of(*alone));
  }
}

namespace {

// Makes two layers of LLaMA 7B's shape, whose widths are divided by `narrower`, with heads of the same size.
std::shared_ptr<const ModelWeights> two_layers(int64_t narrower) {
  return random_model(parse_small({{"architectures", {"LlamaForCausalLM"}},
                                   {"hidden_size", 4096 / narrower},
                                   {"num_hidden_layers", 2},
                                   {"num_attention_heads", 32 / narrower},
                                   {"num_key_value_heads", 32 / narrower},
                                   {"head_dim", 128},
                                   {"intermediate_size", 11008 / narrower},
                                   {"vocab_size", 32000 / narrower / narrower}}),
                      DType::kBF16, 5);
}

}  // namespace

// The teacher's LoRA is copied ahead of its steps. Weights stay on the card or are streamed. On a card, streamed copies run beside the ops,
// and only the waits between both queues keep one queue from overtaking the other.
TEST(CudaStep, TwoLayersOfTheWidthsOf7BLeaveTheSameBitsTwiceAndWhereStreamsOverlap) {
  for (const BackendSpec& card : cards()) {
    const bool wide = !describe_device(card).model.starts_with("emulated");  // a rehearsal has the emulated card under a card's name
    const auto model = two_layers(wide ? 1 : 32);
    const auto digest = [&](bool streamed) {
      TrainerOptions options;
      options.backend = card;
      options.stream_weights = streamed;
      options.checkpoint_activations = streamed;
      options.batch_size = wide ? 2 : 1;
      options.sequence_length = wide ? 256 : 16;
      const auto trainer = Trainer::create(model, LoraSpec{}, options);
      change_state(*trainer, [](TrainState& state) {
        state.initialise(11);
        loosen_masks(state);
        for (int64_t i = 0; i < state.lora_size(); i += 3) state.params()[static_cast<size_t>(i)] += 1e-3f;
      });
      trainer->set_data(random_tokens(model->config().vocab_size, options.sequence_length * 31));
      const auto first = trainer->keep_student(deterministic_masks(model->config(), trainer->log_alphas()));
      trainer->expect_teacher(first);
      run(*trainer, segment(0, 1));
      trainer->use_teacher(first);
      run(*trainer, segment(1, 1));
      return digest_of(*trainer);
    };
    const std::string once = digest(false);
    EXPECT_EQ(digest(false), once) << "the same twice on " << card.name;
    EXPECT_EQ(digest(true), once) << "streamed on " << card.name;
  }
}

namespace {

// The kernels of a step of two narrow layers whose masks are all between 0 and 1, so that nothing is closed, and both roles are scaled.
std::map<std::string, cuda::emulator::Counters> kernels_of_a_step() {
  TrainerOptions options = on_emulated("early", ComputeDType::kBF16);
  options.batch_size = 2;
  options.sequence_length = 24;
  const auto model = two_layers(16);
  const auto trainer = Trainer::create(model, LoraSpec{}, options);
  change_state(*trainer, [](TrainState& state) { state.initialise(11); });
  StepProbe probe;
  probe.student = deterministic_masks(model->config(), trainer->log_alphas());
  for (auto* masks : {&probe.student.head, &probe.student.intermediate, &probe.student.hidden})
    std::fill(masks->begin(), masks->end(), 0.75f);
  probe.teacher = probe.student;
  probe.input_ids.assign(2 * 24, 7);
  cuda::emulator::Counting counting;
  trainer->probe(probe, LossWeights{});
  return counting.all();
}

}  // namespace

// The passes beside products and attention read and write each tensor as often as stated here, with 4 bytes for each f32 value and 2 for
// each bf16 value. They also read lists of a row's columns, which stay in the caches, and write the sums of each part of the rows. The few
// rows of this step are one part each.
TEST(CudaStep, PassesTakeTheBytesOfTheirTensors) {
  const auto made = kernels_of_a_step();
  constexpr uint64_t kRows = 48, kLayers = 2, kHidden = 256, kUnits = 688, kVocab = 125, kRank = 8, kThreads = 64;
  const auto expect = [&](const char* kernel, uint64_t launches, uint64_t bytes) {
    EXPECT_EQ(made.at(kernel).launches, launches) << kernel;
    EXPECT_EQ(made.at(kernel).global_bytes, bytes) << kernel;
  };
  constexpr uint64_t kF32 = 4, kBf16 = 2, kList = 4, kPart = 4;
  // A block reads its row from memory, and again from the cache. The root of each row is kept, except for the last norm of the teacher.
  expect("rmsnorm", 4 * kLayers + 2,
         kRows * ((4 * kLayers + 2) * kHidden * (2 * (kF32 + kList) + kList + kBf16) + (4 * kLayers + 1) * kF32));
  const uint64_t inner = 2 * (kF32 + kBf16) + 2 * kF32 + kBf16 + 3 * kList, with_loss = inner + kBf16;
  const uint64_t last = 2 * (2 * kF32 + 2 * kList) + kF32 + 2 * kBf16 + kList;
  expect("rmsnorm_backward", 2 * kLayers + 1,
         kRows * (kHidden * ((kLayers + 1) * inner + (kLayers - 1) * with_loss + last + (2 * kLayers + 1) * kPart) +
                  (2 * kLayers + 1) * kThreads * kF32));
  expect("attention_operands", 2 * kLayers, 2 * kLayers * kRows * 2 * kHidden * (kF32 + kBf16 + kList));
  expect("swiglu", 2 * kLayers, 2 * kLayers * kRows * kUnits * (3 * kBf16 + kList));
  expect("swiglu_backward", kLayers, kLayers * kRows * kUnits * (6 * kBf16 + kList + kPart));
  // A thread has four columns of a row, and reads the row's weight once.
  expect("layer_loss", kLayers, kLayers * kRows * (kHidden * (2 * kF32 + kBf16 + 3 * kList + kPart) + kHidden / 4 * kF32 + sizeof(double)));
  // The logits of both roles are read twice. The gradient's rows are padded to 128 columns.
  expect("token_loss", 1, kRows * (kVocab * 4 * kF32 + 128 * kBf16 + sizeof(double)));
  expect("copy_rows", kLayers, kLayers * kRows * kRank * 2 * kBf16);  // the narrow products of the units, and no gradient
  // A thread reads the token of its row, and no list where all columns are open.
  expect("embed", 2, 2 * kRows * kHidden * (kBf16 + kF32 + sizeof(int32_t)));
  // LoRA's factors are made dense for each pass. All weights are read where they are stored.
  const uint64_t factors = kRank * (4 * 2 * kHidden + 3 * (kHidden + kUnits));
  expect("pack", 2 * 2 * 7 * kLayers, 2 * kLayers * factors * (kF32 + kBf16));
  // A block reads the queries, keys and values of a head in one row of the batch, and each of its 128 threads two lists. The student's keep
  // the log-sum-exp.
  constexpr uint64_t kTokens = 24, kHeadBytes = 128 * kBf16, kBlocks = 2 * 2;
  expect("attention", 2 * kLayers, kLayers * kBlocks * (2 * (kTokens * 4 * kHeadBytes + 128 * 2 * kList) + kTokens * kF32));
}

// Each layer has 29 products: seven of the projections for each role, four narrow ones of LoRA forward, and backward four of the joined
// projections and seven narrow ones. The other two are those of lm_head: one makes the logits of both roles, which have the same hidden
// units here, and one their gradient.
TEST(CudaStep, LaunchesNoMoreThanIsSaidHere) {
  std::map<std::string, uint64_t> launches;
  for (const auto& [kernel, counted] : kernels_of_a_step()) launches[kernel] = counted.launches;
  const std::map<std::string, uint64_t> expected{{"add_head_sums", 2},
                                                 {"add_parts", 9},
                                                 {"add_sums", 3},
                                                 {"attention", 4},
                                                 {"attention_backward_keys", 2},
                                                 {"attention_backward_queries", 2},
                                                 {"attention_operands", 4},
                                                 {"copy_rows", 2},
                                                 {"embed", 2},
                                                 {"factor_gradient", 28},
                                                 {"factor_sums_bf16", 22},
                                                 {"layer_loss", 2},
                                                 {"pack", 56},
                                                 {"product_bf16", 2 * 29 + 2},
                                                 {"rmsnorm", 10},
                                                 {"rmsnorm_backward", 5},
                                                 {"row_weight", 2},
                                                 {"square_sum", 1},
                                                 {"swiglu", 4},
                                                 {"swiglu_backward", 2},
                                                 {"token_loss", 1}};
  EXPECT_EQ(launches, expected);
}

// The moments and the gradient are read with a parameter, and no other pass goes over them. The norm of the gradient reads it once more.
TEST(CudaStep, AnUpdateReadsAndWritesEachParameterOnce) {
  const auto trainer = tiny_session(on_emulated("early", ComputeDType::kBF16), light_model());
  const cuda::emulator::Counting counting;
  run(*trainer, segment(0, 1));
  const auto size = static_cast<uint64_t>(trainer->layout().lora_size());
  EXPECT_EQ(counting.of("adamw").launches, 1u);
  EXPECT_EQ(counting.of("adamw").global_bytes, size * 7 * sizeof(float));
  const cuda::emulator::Counters& squares = counting.of("square_sum");
  EXPECT_EQ(squares.launches, 1u);
  EXPECT_EQ(squares.global_bytes, size * sizeof(float) + squares.blocks * sizeof(double));
}

// The log-alphas and their moments lie on the host, and all else of a state on the card. A state holds both.
TEST(CudaStep, AStateThatIsImportedGoesOnInTheSameBits) {
  const auto model = light_model();
  const auto session = [&] { return tiny_session(on_emulated("early", ComputeDType::kBF16), model); };
  const auto whole = session(), first = session(), second = session();
  change_state(*whole, loosen_masks);
  first->import_state(whole->export_state());
  run(*whole, segment(0, 2));
  run(*first, segment(0, 1));
  EXPECT_EQ(first->serialize(), first->export_state().serialize());
  second->import_state(first->export_state());
  run(*second, segment(1, 1));
  EXPECT_EQ(digest_of(*second), digest_of(*whole));
}

// In a step the host waits only for the results. The first steps also allocate memory.
TEST(CudaStep, WaitsForTheResultsAlone) {
  TrainerOptions options = on_emulated("late", ComputeDType::kBF16);
  const auto trainer = tiny_session(options, light_model());
  change_state(*trainer, loosen_masks);
  for (const SparsityControl control : {SparsityControl::kTracking, SparsityControl::kMultipliers}) {
    SegmentPlan plan = segment(trainer->step(), 3);
    plan.sparsity_control = control;
    plan.scheduled_sparsity.assign(3, 0.4);
    uint64_t waits = 0;
    const std::atomic<bool> cancel{false};
    cuda::emulated::take_waits();
    const auto count = [&](const StepReport& r) {
      EXPECT_FALSE(r.skipped);
      waits = cuda::emulated::take_waits();
    };
    trainer->run_segment(plan, count, cancel);
    EXPECT_EQ(waits, 1u);
  }
}

TEST(CudaStep, AnEvaluationStreamsWeightsThatCrowdTheCard) {
  const auto model = light_model();
  const auto tokens = random_tokens(model->config().vocab_size, 3 * 32);
  const std::atomic<bool> cancel{false};
  const auto loss = [&](const char* behaviour) {
    return evaluate(model, nullptr, tokens->ids, 32, ComputeDType::kBF16, emulated_card(behaviour), nullptr, cancel)
        .negative_log_likelihood;
  };
  const double kept = loss("early");
  cuda::emulated::Cards small = cuda::emulated::list_cards();
  small.cards[0].memory_bytes = small.cards[0].free_bytes = model->bytes();
  const cuda::emulated::Cards before = cuda::emulated::show_cards(small);
  cuda::emulator::take_peak_bytes();
  for (const char* behaviour : {"late", "late-copies", "late-ops"}) EXPECT_EQ(loss(behaviour), kept) << behaviour;
  cuda::emulated::show_cards(before);
}

}  // namespace espalier::test

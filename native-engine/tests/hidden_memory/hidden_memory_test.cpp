// Runs everything that a run does on a device whose memory the host can't touch. The bits must be the same as on the host, and an access by
// the host crashes.
#include "hidden_memory/hidden_memory_backend.h"

#include <algorithm>

#include "espalier/evaluation/evaluate.h"
#include "espalier/export/export.h"
#include "files/small_models.h"
#include "step/step_helpers.h"

namespace espalier::test {

struct SessionCase {
  const char* name;
  ComputeDType dtype;
  bool checkpoint, exact_sparse;
  int64_t shards = 1;
  const char* kind = nullptr;  // a name of small_kinds(); nullptr for light_model()
};

std::shared_ptr<const ModelWeights> model_of(const SessionCase& p) {
  for (const SmallKind& kind : small_kinds())
    if (p.kind != nullptr && std::string(kind.name) == p.kind) return small_model(kind.config);
  return light_model();
}

class HiddenMemorySession : public testing::TestWithParam<SessionCase> {};

BackendSpec device_named(const std::string& name, int threads) {
  BackendSpec spec;
  spec.name = name;
  spec.threads = threads;
  return spec;
}

struct Outcome {
  std::vector<std::string> digests;
  std::vector<double> numbers;
  bool operator==(const Outcome&) const = default;
};

void note(Outcome& outcome, const StepReport& r) {
  for (const double v :
       {r.loss, r.layer_loss, r.kl_loss, r.lm_loss, r.lagrangian, r.expected_sparsity, r.gradient_norm, r.lambda1, r.lambda2})
    outcome.numbers.push_back(std::isnan(v) ? -1 : v);
}

// Trains under two teachers, runs a step without a teacher, resumes from bytes to replay steps, evaluates and exports.
Outcome whole_session(const SessionCase& p, const BackendSpec& backend) {
  const auto model = model_of(p);
  TrainerOptions options;
  options.dtype = p.dtype;
  options.checkpoint_activations = p.checkpoint;
  options.exact_sparse = p.exact_sparse;
  options.micro_shards = p.shards;
  options.backend = backend;
  const auto trainer = tiny_session(options, model);
  change_state(*trainer, loosen_masks);
  Outcome outcome;
  const std::atomic<bool> cancel{false};
  const auto train = [&](SegmentPlan plan) {
    trainer->run_segment(plan, [&](const StepReport& r) { note(outcome, r); }, cancel);
    outcome.digests.push_back(digest_of(*trainer));
  };
  train(segment(0, 3));
  const auto early = trainer->serialize();
  trainer->use_teacher(trainer->export_snapshot());
  train(segment(3, 3));
  SegmentPlan language = segment(6, 2);
  language.losses = {0.0, 0.0, 1.0, 1.0};
  train(language);
  trainer->use_intact_teacher();
  train(segment(8, 1));
  trainer->import_state(StateReader(early, model->config(), LoraSpec{}));
  train(segment(3, 2));
  const TrainState state = trainer->export_snapshot();
  const auto tokens = random_tokens(model->config().vocab_size, 200);
  for (const TrainState* s : {&state, static_cast<const TrainState*>(nullptr)})
    outcome.numbers.push_back(evaluate(model, s, tokens->ids, 32, p.dtype, backend, nullptr, cancel).negative_log_likelihood);
  const TempFolder folder;
  for (const ExportForm form : {ExportForm::kMasked, ExportForm::kCompacted}) {
    ExportRequest request;
    request.form = form;
    request.out_folder = (folder / std::to_string(static_cast<int>(form))).string();
    const ExportResult result =
        export_model(*model, &state, deterministic_masks(model->config(), trainer->log_alphas()), request, [](double) {}, cancel);
    for (const ExportedFile& file : result.files) outcome.digests.push_back(file.sha256);
  }
  return outcome;
}

TEST_P(HiddenMemorySession, AWholeSessionHasTheHostsBits) {
  BackendSpec host;
  host.threads = 2;
  const Outcome expected = whole_session(GetParam(), host), hidden = whole_session(GetParam(), device_named(kHiddenMemory, 2));
  EXPECT_EQ(hidden.digests, expected.digests);
  EXPECT_EQ(hidden.numbers, expected.numbers);
}

INSTANTIATE_TEST_SUITE_P(All, HiddenMemorySession,
                         testing::Values(SessionCase{"bf16", ComputeDType::kBF16, false, true},
                                         SessionCase{"bf16_checkpoint", ComputeDType::kBF16, true, true},
                                         SessionCase{"bf16_shards", ComputeDType::kBF16, false, true, 2},
                                         SessionCase{"f32", ComputeDType::kF32, false, true},
                                         SessionCase{"f32_checkpoint_dense", ComputeDType::kF32, true, false},
                                         SessionCase{"qwen3", ComputeDType::kBF16, true, true, 2, "qwen3_yarn"},
                                         SessionCase{"smollm3", ComputeDType::kF32, false, true, 1, "smollm3"}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(HiddenMemory, AStepWithoutUpdateHasTheHostsBits) {
  const auto probe_on = [](const BackendSpec& backend) {
    TrainerOptions options;
    options.dtype = ComputeDType::kF32;
    options.backend = backend;
    const auto model = light_model();
    const auto trainer = tiny_session(options, model);
    StepProbe probe;
    const auto tokens = random_tokens(model->config().vocab_size, 2 * 24);
    probe.input_ids.assign(tokens->ids.begin(), tokens->ids.end());
    const TrainState state = trainer->export_state();
    probe.student = probe.teacher = deterministic_masks(model->config(), state);
    for (size_t i = 0; i < probe.student.hidden.size(); i += 3) probe.student.hidden[i] = 0;
    trainer->probe(probe, LossWeights{});
    return probe;
  };
  const StepProbe hidden = probe_on(device_named(kHiddenMemory, 2)), host = probe_on(on_threads(2));
  EXPECT_EQ(hidden.loss, host.loss);
  EXPECT_EQ(hidden.grad_lora, host.grad_lora);
  EXPECT_EQ(hidden.grad_z.hidden, host.grad_z.hidden);
}

// Nothing reads a result between the two lists, so only the block itself can keep the second list from overwriting the first.
TEST(HiddenMemory, AnUploadBlockKeepsItsListsUntilTheQueueHasTakenThem) {
  const auto backend = make_backend(device_named(kHiddenMemory, 1));
  const DeviceBuffer results = backend->allocate(2 * 16 * sizeof(float));
  const DevicePtr<float> first = results.data().as<float>(), second = first + 16;
  UploadBlock block(*backend);
  for (const auto& [to, value] : {std::pair{first, 1.0f}, std::pair{second, 2.0f}}) {
    const std::vector<float> list(16, value);
    block.begin(UploadBlock::room_for(list));
    // The list is only read, but a tensor has no type for memory that is only read.
    const DevicePtr<std::byte> placed(block.add(list).address());
    block.send();
    backend->run(Copy{Tensor{to.as<std::byte>(), DType::kF32, 1, 16, 16}, Tensor{placed, DType::kF32, 1, 16, 16}});
  }
  EXPECT_EQ(download<float>(*backend, first, 16), std::vector<float>(16, 1.0f));
  EXPECT_EQ(download<float>(*backend, second, 16), std::vector<float>(16, 2.0f));
}

class HiddenMemoryDeathTest : public testing::Test {
 protected:
  HiddenMemoryDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
  std::unique_ptr<Backend> backend = make_backend(device_named(kHiddenMemory, 1));
};

TEST_F(HiddenMemoryDeathTest, AHostAccessKills) {
  const DeviceBuffer buffer = backend->allocate(64);
  EXPECT_DEATH(*reinterpret_cast<volatile char*>(buffer.data().address()) = 1, "");
}

TEST_F(HiddenMemoryDeathTest, AListThatChangesBeforeTheQueueRanKills) {
  const DeviceBuffer buffer = backend->allocate(64);
  std::vector<float> list(16, 1.0f);
  backend->upload(buffer.data(), list.data(), 64);
  EXPECT_DEATH(
      {
        list[3] = 2.0f;
        backend->synchronize();
      },
      "changed before it was synchronized");
  backend->synchronize();
}

TEST_F(HiddenMemoryDeathTest, ABufferThatGoesWhileTheQueueNeedsItKills) {
  EXPECT_DEATH(
      {
        const DeviceBuffer buffer = backend->allocate(64);
        backend->run(Clear{buffer.data().as<float>(), 16});
      },
      "given back while the queue needs it");
}

TEST_F(HiddenMemoryDeathTest, AnOpBeyondItsBufferKills) {
  const DeviceBuffer buffer = backend->allocate(64);
  EXPECT_DEATH(backend->run(Clear{buffer.data().as<float>(), 17}), "no part of one live buffer");
  float host_memory[16];
  EXPECT_DEATH(backend->run(Clear{DevicePtr<float>(reinterpret_cast<uint64_t>(host_memory)), 16}), "hidden-memory device");
}

}  // namespace espalier::test

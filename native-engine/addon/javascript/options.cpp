#include "javascript/options.h"

#include <algorithm>
#include <array>

#include "javascript/settings.h"
#include "session/settings.h"

namespace espalier::addon {
namespace {

constexpr int64_t kThreadsMax = 1024;

constexpr std::pair<const char*, Importance> kImportances[] = {
    {"magnitude", Importance::kMagnitude}, {"wanda", Importance::kWanda}, {"taylor", Importance::kTaylor}, {"fisher", Importance::kFisher}};

ComputeDType read_compute_dtype(const JsObject& options) { return options.choice("computeDtype", Words<ComputeDType>::all); }
Importance read_importance(const JsObject& options) { return options.choice("importance", kImportances); }

std::vector<BackendSpec> read_backends(const JsObject& options) {
  return parse_devices(options.string("device"), static_cast<int>(options.integer("threads", 0, kThreadsMax)));
}

// Returns the first device. Only training uses more than one.
BackendSpec read_backend(const JsObject& options) { return read_backends(options).front(); }

}  // namespace

ShapeTarget read_shape_target(const JsObject& options) {
  if (!options.has("shape")) return {};
  const JsObject shape = options.object("shape");
  ShapeTarget out{shape.integer("multipleOf", 1, 1024), shape.boolean("uniform"), shape.boolean("wholeAttention"),
                  shape.boolean("exactSize")};
  if (!shape.has("cost")) return out;
  const std::vector<double> cost = shape.numbers("cost");
  if (cost.empty()) return out;
  out.cost = cost_from(cost);
  if (!out.cost)
    shape.fail("cost", std::to_string(kCostNumbers) +
                           " numbers not below 0, those of heads and units above 0, and curves that rise to the width of a layer, or none");
  return out;
}

SessionOptions read_session_options(const JsObject& options) {
  SessionOptions out;
  read_session_settings(options, out.trainer, out.lora);
  if (const auto sparsity = options.optional_number("plannedSparsity")) {
    if (!(*sparsity >= 0 && *sparsity < 1)) options.fail("plannedSparsity", "from 0 to below 1");
    out.trainer.planned_sparsity = *sparsity;
  }
  out.trainer.teachers = options.integer("teachers", 0, INT64_C(1) << 31);
  out.slice_bytes = static_cast<uint64_t>(options.integer("sliceBytes", kPageBytes, kSliceBytesMax));
  out.trainer.memory_limit_bytes = static_cast<uint64_t>(options.integer("memoryLimitBytes", 0, INT64_C(1) << 53));
  const std::vector<BackendSpec> devices = read_backends(options);
  out.trainer.backend = devices.front();
  out.trainer.more_devices.assign(devices.begin() + 1, devices.end());
  return out;
}

SegmentPlan read_segment_plan(const JsObject& options) {
  SegmentPlan out;
  read_training_settings(options, out);
  const JsObject losses = options.object("losses");
  for_each_loss([&](const std::string& name, auto weight, auto) { out.losses.*weight = losses.number((name + "Weight").c_str()); });
  out.losses.temperature = losses.number("temperature");
  if (out.losses.temperature <= 0) losses.fail("temperature", "above 0");
  out.train_masks = options.boolean("trainMasks");
  if (options.has("oneShot")) {
    const JsObject one_shot = options.object("oneShot");
    out.one_shot = {read_importance(one_shot), one_shot.integer("calibrationSequences", 1, 1 << 30)};
    if (one_shot.has("layers")) {
      for (const JsObject& layer : one_shot.objects("layers"))
        out.one_shot->layers.push_back({layer.integer("heads", 0, 1 << 20), layer.integer("units", 0, 1 << 24)});
    }
  }
  if (options.has("momentsFromStep")) out.moments_from_step = options.integer("momentsFromStep", 0, INT64_C(1) << 53);
  out.lora_learning_rate = options.numbers("loraLearningRate");
  out.scheduled_sparsity = options.numbers("scheduledSparsity");
  if (out.scheduled_sparsity.size() != out.lora_learning_rate.size()) {
    options.fail("scheduledSparsity", "as long as loraLearningRate: one value for each step");
  }
  out.stop_at_expected_sparsity = options.optional_number("stopAtExpectedSparsity");
  if (const auto seconds = options.optional_number("secondsAtMost")) {
    if (*seconds <= 0) options.fail("secondsAtMost", "above 0");
    out.end_by = std::chrono::steady_clock::now() +
                 std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(*seconds));
  }
  return out;
}

SegmentTeachers read_teachers(const JsObject& options) {
  SegmentTeachers out;
  if (options.has("teachers")) {
    for (const JsObject& stretch : options.objects("teachers"))
      out.stretches.push_back({stretch.integer("firstStep", 0, INT64_C(1) << 53), stretch.has("digest") ? stretch.string("digest") : ""});
  }
  if (options.has("nextTeacher")) out.next = options.string("nextTeacher");
  if (options.has("teacherFiles")) {
    for (const JsObject& one : options.objects("teacherFiles")) out.files[one.string("digest")] = one.string("file");
  }
  return out;
}

EvaluateOptions read_evaluate_options(const JsObject& options) {
  EvaluateOptions out;
  out.ids = options.words("ids");
  out.window = options.integer("window", 2, 1 << 24);
  out.dtype = read_compute_dtype(options);
  out.backend = read_backend(options);
  out.intact = options.boolean("intact");
  if (options.has("modelFolder")) out.model_folder = options.string("modelFolder");
  if (options.has("unstructured")) {
    const JsObject pruning = options.object("unstructured");
    out.unstructured.emplace();
    out.unstructured->importance = read_importance(pruning);
    out.unstructured->sparsity = pruning.number("sparsity");
    out.unstructured->calibration_sequences = pruning.integer("calibrationSequences", 1, 1 << 30);
    out.unstructured->seed = pruning.unsigned64("seed");
    out.unstructured->dtype = out.dtype;
  }
  return out;
}

std::vector<TokenSourceOptions> read_token_sources(const JsObject& options) {
  constexpr int64_t kMost = int64_t{1} << 53;
  std::vector<TokenSourceOptions> out;
  for (const JsObject& given : options.objects("sources")) {
    TokenSourceOptions& source = out.emplace_back();
    source.parts = static_cast<uint64_t>(given.integer("parts", 1, kMost));
    if (given.has("ids")) {
      source.words = given.words("ids");
      continue;
    }
    for (const JsObject& file : given.objects("files"))
      source.files.push_back({file.string("path"), file.string("digest"), file.integer("tokens", 0, kMost)});
  }
  return out;
}

ScorerOptions read_scorer_options(const JsObject& options) {
  ScorerOptions out;
  out.dtype = read_compute_dtype(options);
  out.backend = read_backend(options);
  out.intact = options.boolean("intact");
  if (options.has("modelFolder")) out.model_folder = options.string("modelFolder");
  return out;
}

GenerateOptions read_generate_options(const JsObject& options) {
  GenerateOptions out;
  for (const JsObject& given : options.objects("prompts")) {
    Prompt& prompt = out.request.prompts.emplace_back();
    prompt.ids = given.words("ids");
    prompt.max_tokens = given.integer("maxTokens", 1, 1 << 24);
    prompt.sampling = {given.number("temperature"), given.number("topP"), given.unsigned64("seed")};
  }
  out.request.end_tokens = options.words("endTokens");
  out.request.dtype = read_compute_dtype(options);
  out.request.backend = read_backend(options);
  out.intact = options.boolean("intact");
  if (options.has("modelFolder")) out.model_folder = options.string("modelFolder");
  return out;
}

ScoreBatch read_score_batch(const JsObject& options) { return {options.words("ids"), options.words("lengths"), options.words("scored")}; }
constexpr std::pair<const char*, ExportContainer> kContainers[] = {{"safetensors", ExportContainer::kSafetensors},
                                                                   {"gguf", ExportContainer::kGguf}};
constexpr std::pair<const char*, ExportForm> kForms[] = {{"masked", ExportForm::kMasked},
                                                         {"padded", ExportForm::kPadded},
                                                         {"blocks", ExportForm::kBlocks},
                                                         {"compacted", ExportForm::kCompacted}};
constexpr std::pair<const char*, ExportDType> kExportDTypes[] = {{"f32", ExportDType::kF32},
                                                                 {"bf16", ExportDType::kBF16},
                                                                 {"f16", ExportDType::kF16},
                                                                 {"q8_0", ExportDType::kQ8_0},
                                                                 {"source", ExportDType::kAsSource}};

static ExportRequest read_export_kind(const JsObject& options) {
  ExportRequest out;
  out.container = options.choice("container", kContainers);
  out.form = options.choice("form", kForms);
  out.dtype = options.choice("dtype", kExportDTypes);
  out.multiple_of = options.integer("multipleOf", 1, 1024);
  return out;
}

ExportRequest read_export_request(const JsObject& options) {
  ExportRequest out = read_export_kind(options);
  out.out_folder = options.string("outFolder");
  out.model_card = options.string("modelCard");
  return out;
}

SpeedTableOptions read_speed_table_options(const JsObject& options) {
  SpeedTableOptions out;
  out.decode = options.boolean("decode");
  out.context = options.integer("context", 0, INT32_MAX);
  out.sequences = options.integer("sequences", 0, INT32_MAX);
  out.rounds = options.integer("rounds", 0, INT32_MAX);
  out.dtype = read_compute_dtype(options);
  out.backend = read_backend(options);
  return out;
}

MeasureOptions read_measure_options(const JsObject& options) {
  MeasureOptions out;
  out.speed.prompt = options.integer("promptTokens", 0, INT32_MAX);
  out.speed.tokens = options.integer("tokens", 0, INT32_MAX);
  out.speed.sequences = options.integer("sequences", 0, INT32_MAX);
  out.speed.rounds = options.integer("rounds", 0, INT32_MAX);
  out.speed.dtype = read_compute_dtype(options);
  out.speed.backend = read_backend(options);
  if (options.has("modelFolder")) out.model_folder = options.string("modelFolder");
  out.sized_as = read_export_kind(options.object("sizedAs"));
  return out;
}

}  // namespace espalier::addon

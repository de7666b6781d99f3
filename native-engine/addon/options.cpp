#include "options.h"

#include <cstring>

namespace espalier::addon {
namespace {

constexpr int64_t kThreadsMax = 1024;

ComputeDType read_compute_dtype(const JsObject& options) {
  const std::string name = options.string("computeDtype");
  if (name == "f32") return ComputeDType::kF32;
  if (name == "bf16") return ComputeDType::kBF16;
  options.fail("computeDtype", "\"f32\" or \"bf16\"");
}

// Absent: as published.
SparsityControl read_sparsity_control(const JsObject& options) {
  const std::string name = options.has("sparsityControl") ? options.string("sparsityControl") : "multipliers";
  if (name == "multipliers") return SparsityControl::kMultipliers;
  if (name == "tracking") return SparsityControl::kTracking;
  options.fail("sparsityControl", "\"multipliers\" or \"tracking\"");
}

Importance read_importance(const JsObject& options) {
  const std::string name = options.string("importance");
  if (name == "magnitude") return Importance::kMagnitude;
  if (name == "wanda") return Importance::kWanda;
  if (name == "taylor") return Importance::kTaylor;
  options.fail("importance", "\"magnitude\", \"wanda\" or \"taylor\"");
}

BackendSpec read_backend(const JsObject& options) {
  return parse_device(options.string("device"), static_cast<int>(options.integer("threads", 0, kThreadsMax)));
}

}  // namespace

LoraSpec read_lora(const JsObject& lora) {
  LoraSpec out;
  out.rank = lora.integer("rank", 1, 1024);
  out.alpha = lora.number("alpha");
  if (out.alpha <= 0) lora.fail("alpha", "above 0");
  out.targets.fill(false);
  for (const std::string& target : lora.strings("targets")) {
    size_t p = 0;
    while (p < kProjectionCount && target != std::strrchr(kProjectionNames[p], '.') + 1) ++p;
    if (p == kProjectionCount) lora.fail("targets", "of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj");
    out.targets[p] = true;
  }
  return out;
}

ShapeTarget read_shape_target(const JsObject& options) {
  if (!options.has("shape")) return {};
  const JsObject shape = options.object("shape");
  return {shape.integer("multipleOf", 1, 1024), shape.boolean("uniform"), shape.boolean("wholeAttention")};
}

TrainerOptions read_trainer_options(const JsObject& options) {
  TrainerOptions out;
  out.dtype = read_compute_dtype(options);
  out.batch_size = options.integer("batchSize", 1, 65536);
  out.sequence_length = options.integer("sequenceLength", 2, 1 << 24);
  out.micro_shards = options.integer("microShards", 1, 65536);
  out.exact_sparse = options.boolean("exactSparse");
  out.checkpoint_activations = options.boolean("checkpointActivations");
  out.stream_weights = options.boolean("streamWeights");
  out.memory_limit_bytes = static_cast<uint64_t>(options.integer("memoryLimitBytes", 0, INT64_C(1) << 53));
  out.backend = read_backend(options);
  return out;
}

SegmentPlan read_segment_plan(const JsObject& options) {
  SegmentPlan out;
  out.seed = options.unsigned64("seed");
  const JsObject losses = options.object("losses");
  out.losses = {losses.number("layer"), losses.number("kl"), losses.number("lm"), losses.number("temperature")};
  if (out.losses.temperature <= 0) losses.fail("temperature", "above 0");
  out.mask_learning_rate = options.number("maskLearningRate");
  out.lambda_learning_rate = options.number("lambdaLearningRate");
  out.sparsity_control = read_sparsity_control(options);
  out.gradient_clip_norm = options.number("gradientClipNorm");
  out.train_masks = options.boolean("trainMasks");
  if (options.has("oneShot")) {
    const JsObject one_shot = options.object("oneShot");
    out.one_shot = {read_importance(one_shot), one_shot.integer("calibrationSequences", 1, 1 << 30), {}};
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

std::vector<TeacherStretch> read_teachers(const JsObject& options) {
  std::vector<TeacherStretch> out;
  if (!options.has("teachers")) return out;
  for (const JsObject& stretch : options.objects("teachers")) {
    out.push_back({stretch.integer("firstStep", 0, INT64_C(1) << 53), stretch.has("digest") ? stretch.string("digest") : ""});
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
MeasureOptions read_measure_options(const JsObject& options) {
  MeasureOptions out;
  out.speed.prompt = options.integer("promptTokens", 0, INT32_MAX);
  out.speed.tokens = options.integer("tokens", 0, INT32_MAX);
  out.speed.sequences = options.integer("sequences", 0, INT32_MAX);
  out.speed.rounds = options.integer("rounds", 0, INT32_MAX);
  out.speed.dtype = read_compute_dtype(options);
  out.speed.backend = read_backend(options);
  if (options.has("modelFolder")) out.model_folder = options.string("modelFolder");
  return out;
}

ExportRequest read_export_request(const JsObject& options) {
  ExportRequest out;
  const auto choose = [&](const char* name, const auto& choices, auto& value) {
    const std::string given = options.string(name);
    std::string allowed;
    for (const auto& [text, choice] : choices) {
      if (given == text) {
        value = choice;
        return;
      }
      allowed += (allowed.empty() ? "\"" : ", \"") + std::string(text) + "\"";
    }
    options.fail(name, "one of " + allowed);
  };
  using Containers = std::vector<std::pair<const char*, ExportContainer>>;
  using Forms = std::vector<std::pair<const char*, ExportForm>>;
  using DTypes = std::vector<std::pair<const char*, ExportDType>>;
  choose("container", Containers{{"safetensors", ExportContainer::kSafetensors}, {"gguf", ExportContainer::kGguf}}, out.container);
  choose("form",
         Forms{{"masked", ExportForm::kMasked},
               {"padded", ExportForm::kPadded},
               {"blocks", ExportForm::kBlocks},
               {"compacted", ExportForm::kCompacted}},
         out.form);
  choose("dtype",
         DTypes{{"f32", ExportDType::kF32},
                {"bf16", ExportDType::kBF16},
                {"f16", ExportDType::kF16},
                {"q8_0", ExportDType::kQ8_0},
                {"source", ExportDType::kAsSource}},
         out.dtype);
  out.multiple_of = options.integer("multipleOf", 1, 1024);
  out.out_folder = options.string("outFolder");
  out.model_card = options.string("modelCard");
  return out;
}

}  // namespace espalier::addon

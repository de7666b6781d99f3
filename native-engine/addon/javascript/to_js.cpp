#include "javascript/to_js.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>

namespace espalier::addon {
namespace {

class ObjectBuilder {
 public:
  explicit ObjectBuilder(Napi::Env env) : env_(env), object_(Napi::Object::New(env)) {}
  ObjectBuilder& number(const char* key, double value) { return set(key, Napi::Number::New(env_, value)); }
  ObjectBuilder& count(const char* key, int64_t value) { return number(key, static_cast<double>(value)); }  // a uint32 of the protocol
  ObjectBuilder& text(const char* key, const std::string& value) { return set(key, Napi::String::New(env_, value)); }
  ObjectBuilder& flag(const char* key, bool value) { return set(key, Napi::Boolean::New(env_, value)); }
  ObjectBuilder& int64(const char* key, int64_t value) { return set(key, Napi::BigInt::New(env_, value)); }
  ObjectBuilder& uint64(const char* key, uint64_t value) { return set(key, Napi::BigInt::New(env_, value)); }
  // A loss that has no part in a step is NaN in the core, and an optional field that is not set in the protocol.
  ObjectBuilder& loss(const char* key, double value) { return std::isnan(value) ? set(key, env_.Undefined()) : number(key, value); }
  ObjectBuilder& set(const char* key, const Napi::Value& value) {
    object_.Set(key, value);
    return *this;
  }
  Napi::Object done() const { return object_; }

 private:
  Napi::Env env_;
  Napi::Object object_;
};

Napi::Array widths(Napi::Env env, const std::vector<LayerShape>& layers) {
  Napi::Array out = Napi::Array::New(env, layers.size());
  for (uint32_t i = 0; i < layers.size(); ++i) {
    const LayerShape& l = layers[i];
    out.Set(i, ObjectBuilder(env).int64("heads", l.heads).int64("kvHeads", l.kv_heads).int64("intermediate", l.intermediate).done());
  }
  return out;
}

Napi::Array counts(Napi::Env env, const std::vector<TensorCount>& tensors) {
  static constexpr std::array kinds = {"embedding", "lm_head", "projection", "value", "output", "down", "norm", "vector"};
  static constexpr std::array parts = {"none", "head", "kv_head", "unit"};
  Napi::Array out = Napi::Array::New(env, tensors.size());
  for (uint32_t i = 0; i < tensors.size(); ++i) {
    const TensorCount& count = tensors[i];
    ObjectBuilder built(env);
    built.text("kind", kinds[static_cast<size_t>(count.kind)]).text("part", parts[static_cast<size_t>(count.part)]);
    built.uint64("parameters", count.parameters).uint64("bytes", count.bytes);
    out.Set(i, built.done());
  }
  return out;
}

}  // namespace

Napi::Value to_js(Napi::Env env, const ModelDescription& m) {
  const ModelConfig& c = m.config;
  return ObjectBuilder(env)
      .text("architecture", c.architecture)
      .int64("hiddenSize", c.hidden_size)
      .int64("layerCount", c.layer_count)
      .int64("headCount", c.head_count)
      .int64("kvHeadCount", c.kv_head_count)
      .int64("headDim", c.head_dim)
      .int64("intermediateSize", c.intermediate_size)
      .int64("vocabSize", c.vocab_size)
      .int64("maxPositions", c.max_positions)
      .int64("bosTokenId", c.bos_token_id)
      .flag("tiedEmbeddings", c.tied_embeddings)
      .uint64("parameterCount", m.parameter_count)
      .uint64("prunableParameterCount", m.body_parameter_count)
      .uint64("weightBytes", m.weight_bytes)
      .text("weightsDigest", m.digest)
      .text("dtype", m.dtype == "F32"   ? "f32"
                     : m.dtype == "F16" ? "f16"
                                        : "bf16")
      .set("layers", widths(env, c.layers))
      .set("tensors", counts(env, m.tensors))
      .done();
}

Napi::Value to_js(Napi::Env env, const MemoryPlan& plan) {
  return ObjectBuilder(env)
      .uint64("weightsBytes", plan.weights)
      .uint64("loraBytes", plan.lora)
      .uint64("stateBytes", plan.state)
      .uint64("ownStateBytes", plan.own_state)
      .uint64("optimizerBytes", plan.optimizer)
      .uint64("activationsBytes", plan.activations)
      .uint64("teachersBytes", plan.teachers)
      .uint64("scratchBytes", plan.scratch)
      .uint64("totalBytes", plan.total)
      .uint64("availableBytes", plan.available)
      .uint64("hostBytes", plan.host)
      .uint64("hostAvailableBytes", plan.host_available)
      .count("devices", plan.devices)
      .count("devicesThere", plan.devices_there)
      .done();
}

static Napi::Value copied_bytes(Napi::Env env, const std::vector<uint8_t>& bytes) {
  return Napi::Buffer<uint8_t>::Copy(env, bytes.data(), bytes.size());
}

static Napi::Value to_js(Napi::Env env, const ExportSize& size) {
  return ObjectBuilder(env)
      .uint64("parameterCount", size.parameters)
      .uint64("multiplications", size.multiplications)
      .uint64("bytes", size.bytes)
      .done();
}

static Napi::Value to_js(Napi::Env env, const std::optional<RefitReport>& refit) {
  if (!refit) return env.Undefined();
  return ObjectBuilder(env)
      .flag("kept", refit->kept)
      .number("lossBefore", refit->loss_before)
      .number("lossAfter", refit->loss_after)
      .done();
}

static Napi::Value to_js(Napi::Env env, const std::vector<LayerScan>& scans) {
  Napi::Array layers = Napi::Array::New(env, scans.size());
  for (uint32_t l = 0; l < scans.size(); ++l) {
    const std::vector<ScannedForm>& found = scans[l].forms;
    Napi::Array forms = Napi::Array::New(env, found.size());
    for (uint32_t i = 0; i < found.size(); ++i)
      forms.Set(i, ObjectBuilder(env)
                       .flag("attention", found[i].attention)
                       .count("kept", found[i].kept)
                       .number("kl", found[i].kl)
                       .number("loss", found[i].loss)
                       .done());
    layers.Set(l, ObjectBuilder(env).count("layer", scans[l].layer).set("forms", forms).done());
  }
  return layers;
}

Napi::Value to_js(Napi::Env env, const StateSummary& state) {
  const HardSparsity& s = state.sparsity;
  Napi::Array open = Napi::Array::New(env, s.heads_open.size());
  for (uint32_t l = 0; l < s.heads_open.size(); ++l) {
    open.Set(l, ObjectBuilder(env).int64("heads", s.heads_open[l]).int64("kvHeads", 0).int64("intermediate", s.units_open[l]).done());
  }
  return ObjectBuilder(env)
      .int64("step", state.step)
      .text("digest", state.digest)
      .number("expectedSparsity", s.expected_sparsity)
      .number("hardSparsity", s.sparsity)
      .set("open", open)
      .int64("hiddenOpen", s.hidden_open)
      .text("masksDigest", state.masks_digest)
      .set("openUnits", copied_bytes(env, state.open_units))
      .set("size", to_js(env, state.size))
      .done();
}

// Makes the message StepReport of espalier.engine.v1, with one more field for the time at which the step ended.
Napi::Value to_js(Napi::Env env, const TimedStep& step) {
  const StepReport& r = step.report;
  ObjectBuilder out(env);
  for_each_loss([&](const std::string& name, auto, auto value) { out.loss((name + "Loss").c_str(), r.*value); });
  return out.int64("step", r.step)
      .number("loss", r.loss)
      .number("lagrangian", r.lagrangian)
      .number("scheduledSparsity", r.scheduled_sparsity)
      .number("expectedSparsity", r.expected_sparsity)
      .number("gradientNorm", r.gradient_norm)
      .number("lambda1", r.lambda1)
      .number("lambda2", r.lambda2)
      .number("seconds", r.seconds)
      .number("endedAt", step.ended_at)
      .int64("openHeads", r.open_heads)
      .int64("openUnits", r.open_units)
      .int64("openHidden", r.open_hidden)
      .flag("skipped", r.skipped)
      .done();
}

Napi::Value to_js(Napi::Env env, const std::vector<std::string>& texts) {
  Napi::Array out = Napi::Array::New(env, texts.size());
  for (uint32_t i = 0; i < texts.size(); ++i) out.Set(i, Napi::String::New(env, texts[i]));
  return out;
}

Napi::Value to_js(Napi::Env env, const SegmentResult& result) {
  return ObjectBuilder(env)
      .set("state", to_js(env, result.state))
      .set("stateBytes", result.state_bytes ? to_js_bytes(env, result.state_bytes) : env.Null())
      .text("stateFolder", result.state_folder)
      .number("stateSize", static_cast<double>(result.state_size))
      .number("stateSeconds", result.state_seconds)
      .set("teachers", to_js(env, result.teachers))
      .text("keptAs", result.kept_as)
      .int64("stepsDone", result.steps_done)
      .flag("stopped", result.cancelled)
      .number("seconds", result.seconds)
      .set("openUnitsBefore", copied_bytes(env, result.open_units_before))
      .set("refit", to_js(env, result.refit))
      .set("scans", to_js(env, result.scans))
      .done();
}

Napi::Value to_js(Napi::Env env, const EvaluationResult& result) {
  return ObjectBuilder(env)
      .number("negativeLogLikelihood", result.negative_log_likelihood)
      .number("perplexity", result.perplexity)
      .uint64("predictions", result.predictions)
      .number("zeroShare", result.zero_share)
      .done();
}

Napi::Value to_js(Napi::Env env, const std::vector<SequenceScore>& scores) {
  Napi::Float64Array likelihoods = Napi::Float64Array::New(env, scores.size());
  Napi::Uint8Array greedy = Napi::Uint8Array::New(env, scores.size());
  for (size_t i = 0; i < scores.size(); ++i) {
    likelihoods[i] = scores[i].log_likelihood;
    greedy[i] = scores[i].greedy ? 1 : 0;
  }
  return ObjectBuilder(env).set("logLikelihoods", likelihoods).set("greedy", greedy).done();
}

Napi::Value to_js(Napi::Env env, const GeneratedToken& token) {
  const char* const finish = token.finish == Finish::kEnd ? "end" : token.finish == Finish::kLength ? "length" : "";
  return ObjectBuilder(env).count("prompt", token.prompt).count("id", token.id).text("finish", finish).done();
}

Napi::Value to_js(Napi::Env env, const GenerationResult& result) {
  return ObjectBuilder(env)
      .uint64("promptTokens", result.prompt_tokens)
      .uint64("generatedTokens", result.generated_tokens)
      .uint64("decodePasses", result.decode_passes)
      .number("prefillSeconds", result.prefill_seconds)
      .number("decodeSeconds", result.decode_seconds)
      .uint64("weightBytes", result.weight_bytes)
      .uint64("cacheBytes", result.cache_bytes)
      .done();
}

static Napi::Value to_js(Napi::Env env, const MedianInterval& ratio) {
  return ObjectBuilder(env).number("median", ratio.median).number("low", ratio.low).number("high", ratio.high).done();
}

Napi::Value to_js(Napi::Env env, const MeasureResult& result) {
  const auto model = [&](size_t i) {
    const Speed& s = result.speed.models[i];
    return ObjectBuilder(env)
        .number("prefillSeconds", s.prefill_seconds)
        .number("passSeconds", s.pass_seconds)
        .set("prefillRatio", to_js(env, s.prefill_ratio))
        .set("passRatio", to_js(env, s.pass_ratio))
        .uint64("weightBytes", s.weight_bytes)
        .set("size", to_js(env, result.sizes[i]))
        .done();
  };
  return ObjectBuilder(env)
      .set("dense", model(0))
      .set("compact", result.speed.models.size() > 1 ? model(1) : env.Undefined())
      .count("rounds", result.speed.rounds)
      .number("copyBytesPerSecond", result.speed.copy_bytes_per_second)
      .done();
}

Napi::Value to_js(Napi::Env env, const SpeedTable& table) {
  Napi::Array times = Napi::Array::New(env, table.times.size());
  for (uint32_t i = 0; i < table.times.size(); ++i) {
    const PartTime& t = table.times[i];
    times.Set(i, ObjectBuilder(env)
                     .text("part", t.part)
                     .int64("width", t.width)
                     .int64("hidden", t.hidden)
                     .number("seconds", t.seconds)
                     .number("spread", t.spread)
                     .done());
  }
  return ObjectBuilder(env)
      .set("times", times)
      .count("rounds", table.rounds)
      .number("passSeconds", table.pass_seconds)
      .number("passSpread", table.spread)
      .done();
}

Napi::Value to_js(Napi::Env env, const ExportResult& result) {
  Napi::Array files = Napi::Array::New(env, result.files.size());
  for (uint32_t i = 0; i < result.files.size(); ++i) {
    const ExportedFile& f = result.files[i];
    files.Set(
        i, ObjectBuilder(env).text("name", f.name).number("sizeBytes", static_cast<double>(f.size_bytes)).text("sha256", f.sha256).done());
  }
  Napi::Array notes = Napi::Array::New(env, result.notes.size());
  for (uint32_t i = 0; i < result.notes.size(); ++i) notes.Set(i, Napi::String::New(env, result.notes[i]));
  return ObjectBuilder(env)
      .set("files", files)
      .set("notes", notes)
      .text("architecture", result.architecture)
      .int64("contextLength", result.context_length)
      .uint64("parameterCount", result.parameter_count)
      .uint64("tensorBytes", result.tensor_bytes)
      .uint64("totalBytes", result.total_bytes)
      .int64("hiddenSize", result.config.hidden_size)
      .set("layers", widths(env, result.config.layers))
      .done();
}

Napi::Value to_js_bytes(Napi::Env env, std::shared_ptr<FileBytes> bytes) {
  // Node refuses larger buffers, and by then it has already freed the bytes. Larger states are in slices.
  if (bytes->size() > kSliceBytesMax) throw Error(ErrorCode::kInternal, "", "a buffer for JavaScript has 2 GiB at most");
  auto owned = std::make_unique<std::shared_ptr<FileBytes>>(std::move(bytes));
  auto* raw = owned.get();
  const auto buffer = Napi::Buffer<uint8_t>::NewOrCopy(
      env, (*raw)->data(), (*raw)->size(), [](Napi::Env, uint8_t*, std::shared_ptr<FileBytes>* hint) { delete hint; }, raw);
  owned.release();
  return buffer;
}

}  // namespace espalier::addon

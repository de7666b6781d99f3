// Turns results of the core into JavaScript objects. Where the engine's protocol has a message for a result, the object is that message,
// with its names and types (a 64-bit integer is a bigint), so that the engine passes it on as it is. native.ts says which message.
#pragma once
#include <napi.h>

#include "session/session_core.h"

namespace espalier::addon {

struct TimedStep {
  StepReport report;
  double ended_at = 0;  // seconds, on the monotonic clock
};

Napi::Value to_js(Napi::Env env, const ModelDescription& model);
Napi::Value to_js(Napi::Env env, const MemoryPlan& plan);
Napi::Value to_js(Napi::Env env, const StateSummary& state);
Napi::Value to_js(Napi::Env env, const TimedStep& step);
Napi::Value to_js(Napi::Env env, const std::vector<std::string>& texts);
Napi::Value to_js(Napi::Env env, const SegmentResult& result);
Napi::Value to_js(Napi::Env env, const EvaluationResult& result);
Napi::Value to_js(Napi::Env env, const std::vector<SequenceScore>& scores);
Napi::Value to_js(Napi::Env env, const GeneratedToken& token);
Napi::Value to_js(Napi::Env env, const GenerationResult& result);
Napi::Value to_js(Napi::Env env, const MeasureResult& result);
Napi::Value to_js(Napi::Env env, const SpeedTable& table);
Napi::Value to_js(Napi::Env env, const ExportResult& result);
// Returns a buffer in the memory of `bytes`, which it keeps until it is collected. So no other owner may change them. Where the runtime
// allows no foreign memory, the buffer is a copy.
Napi::Value to_js_bytes(Napi::Env env, std::shared_ptr<FileBytes> bytes);

}  // namespace espalier::addon

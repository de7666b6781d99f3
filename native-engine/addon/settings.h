// Settings of a run between JavaScript objects and the options of the core.
#pragma once
#include "js_reader.h"
#include "session/session_core.h"

namespace espalier::addon {

// All settings of one use, in `settings`: one that is missing, or that nothing in the core takes there, is refused.
void read_session_settings(const JsObject& options, TrainerOptions& trainer, LoraSpec& lora);
void read_training_settings(const JsObject& options, SegmentPlan& plan);

// The values that the core has when it is given `session` and `training`, and else its own defaults; in the same form.
Napi::Value settings_in_effect(Napi::Env env, const JsObject& given);

}  // namespace espalier::addon

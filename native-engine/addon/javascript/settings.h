// Copies the settings of a run between JavaScript objects and the options of the core.
#pragma once
#include "javascript/js_reader.h"
#include "session/session_core.h"

namespace espalier::addon {

// Each function reads all settings of its use from the field `settings`. A setting that is missing, or that the core does not take there,
// is refused.
void read_session_settings(const JsObject& options, TrainerOptions& trainer, LoraSpec& lora);
void read_training_settings(const JsObject& options, SegmentPlan& plan);

// Returns the values that the core uses when it is given `session` and `training`; a setting that they leave out has the core's own
// default. The result has the same form.
Napi::Value settings_in_effect(Napi::Env env, const JsObject& given);

}  // namespace espalier::addon

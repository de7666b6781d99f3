// Reads the rotary embedding of a config.json: its base, and how it is stretched over longer contexts.
#pragma once
#include "espalier/model/model_config.h"
#include "files/json_reader.h"

namespace espalier {

// Sets rope_theta and rope_scaling. The architecture and max_positions must already be set. Throws Error(kModelCorrupt | kModelUnsupported,
// "config.rope...").
void read_rope(const JsonObject& config, ModelConfig& model);

}  // namespace espalier

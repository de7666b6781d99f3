// The gates of a stored state, without its other parts.
#pragma once
#include <cstdint>
#include <span>

#include "espalier/method/train_state.h"

namespace espalier {

// Reads only the gates of a state, its step and its shape target. LoRA and own weights are left out, so the memory of a large state is not
// needed. Throws Error(kStateCorrupt, ...) where the gates do not fit the model.
TrainState read_gates(std::span<const uint8_t> state_bytes, const ModelConfig& config);

}  // namespace espalier

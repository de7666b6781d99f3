// The state file: one canonical safetensors file. Its tensors, sorted by name:
//   <entry>, <entry>.adam_m, <entry>.adam_v   F32, for each entry of TrainState
//   lambda, lambda.adam_m, lambda.adam_v      F64 [2]
//   lora.alpha F64 [1], lora.rank I64 [1], lora.targets I64 [7] (0 or 1, in projection order)
//   step I64 [1]
#pragma once
#include <cstdint>
#include <span>

#include "espalier/train_state.h"

namespace espalier {

// The LoRA that the state was made with, so that a caller who has only the bytes can read them.
// Throws Error(kStateCorrupt, ...).
LoraSpec read_lora_spec(std::span<const uint8_t> state_bytes);

}  // namespace espalier

// A state that no run has, for measurements of steps.
#pragma once
#include <cstdint>

#include "espalier/method/train_state.h"

namespace espalier {

// Makes a state in the middle of a run. About the share `closed` of heads and units is closed, and a fourth of this share of the hidden
// units. The factors of LoRA are not zero.
TrainState state_on_the_way(const StateLayout& layout, double closed, uint64_t seed);

}  // namespace espalier

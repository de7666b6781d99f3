// Which gates of deterministic masks are open, one bit each, for the record of a run.
#pragma once
#include <cstdint>
#include <vector>

#include "espalier/model_masks.h"

namespace espalier {

// Gates in the order head, intermediate, hidden, row-major; gate g is bit g % 8 of byte g / 8, 1 where its mask is not 0.
std::vector<uint8_t> open_units(const Masks& masks);

}  // namespace espalier

// Packs which gates of deterministic masks are open, one bit for each, for the record of a run.
#pragma once
#include <cstdint>
#include <vector>

#include "espalier/method/model_masks.h"

namespace espalier {

// Returns the gates in the order head, intermediate, hidden, row-major. Gate g is bit g % 8 of byte g / 8, and is 1 where its mask is not
// 0.
std::vector<uint8_t> open_units(const Masks& masks);

}  // namespace espalier

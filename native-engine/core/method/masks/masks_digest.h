// The digest of a set of deterministic masks, for the record of a run.
#pragma once
#include <string>

#include "espalier/method/model_masks.h"

namespace espalier {

// Returns the SHA-256 (hex) over the line "espalier.masks 1 <L> <H> <I> <D>\n" and the values of head, intermediate and hidden, each as
// little-endian f32 in row-major order.
std::string masks_digest(const ModelConfig& config, const Masks& masks);

}  // namespace espalier

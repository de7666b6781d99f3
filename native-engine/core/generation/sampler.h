// Chooses the next token from its logits.
#pragma once
#include <cstdint>
#include <span>

#include "espalier/generation/generate.h"

namespace espalier {

// `index`: the token's number among the generated ones. Throws Error(kInvalidArgument, "model") where no logit can be compared.
uint32_t choose_token(std::span<const float> logits, const Sampling& sampling, int64_t index);

}  // namespace espalier

// How many units make a model cost what its probabilities say, once all else is rounded.
#pragma once
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "method/shape_target.h"
#include "method/sparsity.h"

namespace espalier {

// A gate that can't be open: what it is part of is closed.
inline constexpr float kClosed = -std::numeric_limits<float>::infinity();

int64_t able_to_open(std::span<const float> log_alpha);

// The gates that are open by these counts of heads and hidden units: in each layer the heads with the highest log-alphas. Without units.
OpenGates gates_of(const OpenCounts& open, const ModelConfig& config, const CostRule& rule, std::span<const float> head_log_alphas);

// The cost of a model whose parts are these, and whose layers have these units.
double cost_with_units(const CostRule& rule, OpenGates gates, const std::vector<int64_t>& units);

// Opens or closes units of any layer, so that the cost is the expected one to half a unit; with curves, so that it is not above it.
void make_exact(OpenCounts& open, const ModelConfig& config, const LogAlphas& a, const SettledBlocks& settled);

}  // namespace espalier

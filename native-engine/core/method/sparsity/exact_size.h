// Computes how many units give a model the cost that its probabilities say, after all other counts are rounded.
#pragma once
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "method/sparsity/shape_target.h"
#include "method/sparsity/sparsity.h"

namespace espalier {

// The log-alpha of a gate that can't be open, because its block is closed.
inline constexpr float kClosed = -std::numeric_limits<float>::infinity();

int64_t able_to_open(std::span<const float> log_alpha);

// Returns the open gates for these counts of heads and hidden units, without units. In each layer the heads with the highest log-alphas are
// open.
OpenGates gates_of(const OpenCounts& open, const ModelConfig& config, const CostRule& rule, std::span<const float> head_log_alphas);

// Returns the cost of a model with these open parts, whose layers have these numbers of units.
double cost_with_units(const CostRule& rule, OpenGates gates, const std::vector<int64_t>& units);

// Opens or closes units of any layer, so that the cost is the expected one to within half a unit. Where the cost has curves, it is at most
// the expected one.
void make_exact(OpenCounts& open, const ModelConfig& config, const LogAlphas& a, const SettledBlocks& settled);

}  // namespace espalier

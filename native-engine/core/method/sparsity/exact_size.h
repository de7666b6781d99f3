// Computes how many units give a model the cost that its probabilities say, after all other counts are rounded.
#pragma once
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "method/sparsity/shape_target.h"
#include "method/sparsity/sparsity.h"

namespace espalier {

// The log-alpha of a gate that can't be open, because its block is closed.
inline constexpr float kClosed = -std::numeric_limits<float>::infinity();

int64_t able_to_open(std::span<const float> log_alpha);

// The order in which heads, or units, open or close, one after the other: first the closed gate with the highest log-alpha, or the open one
// with the lowest. Among equals the gate of the first layer comes first.
class GateOrder {
 public:
  GateOrder(size_t layers, std::span<const float> log_alphas);
  // Changes one gate and returns its layer. Returns nothing where no gate is left to change.
  std::optional<size_t> change(std::vector<int64_t>& open, bool opens) const;

 private:
  size_t width_;
  std::vector<std::vector<float>> sorted_;
};

// Returns the open gates for these counts of heads and hidden units, without units. In each layer the heads with the highest log-alphas are
// open.
OpenGates gates_of(const OpenCounts& open, const ModelConfig& config, const CostRule& rule, std::span<const float> head_log_alphas);

// Returns the cost of a model with these open parts, whose layers have these numbers of units.
double cost_with_units(const CostRule& rule, OpenGates gates, const std::vector<int64_t>& units);

// Opens or closes units of any layer, so that the cost is the expected one to within half a unit. Where the cost has curves, it is at most
// the expected one. Where the cost is too high and no unit is open any more, heads close, and then hidden units.
void make_exact(OpenCounts& open, const ModelConfig& config, const LogAlphas& a, const SettledBlocks& settled);

}  // namespace espalier

// Keeps the sparsity at its schedule in every step, however short the run. AdamW first moves every log-alpha, by the gradient of the loss
// and by the price of the parameters that its mask stands for. Then one factor lengthens all moves that close masks and shortens all that
// open them (or the other way round), so that the expected sparsity becomes the scheduled one. The price follows that factor until AdamW's
// own moves hold the sparsity. No error accumulates, and loss and price decide which masks close. See docs/design/sparsity.md.
#pragma once
#include <span>

#include "espalier/method/model_masks.h"

namespace espalier {

// The tilt is the logarithm of that factor, in [-kTiltLimit, kTiltLimit]. No move becomes longer than e^kSpeedUp times itself: a schedule
// that asks for more is followed at that speed. Near the limit the moves in the wrong direction almost stop.
inline constexpr double kTiltLimit = 12.0, kSpeedUp = 2.0;

// Tilts the moves from `before` to `after` so that the expected sparsity becomes the wanted one, or as near to it as the limit allows, and
// returns the tilt. Both lists are log-alphas in the order of the layout, before and after AdamW's moves. It computes in double; each of a
// few iterations is one pass over the log-alphas. The shape target says which cost the sparsity is a share of.
double tilt_moves(const ModelConfig& config, const ShapeTarget& shape, const StateLayout& layout, std::span<const float> before,
                  std::span<float> after, double wanted);

// Returns the price at the start. The price is the first multiplier, which is negative, because more sparsity is asked for. It follows from
// the sizes of the two gradients that it weighs against each other, and is chosen too small rather than too large, since it grows quickly.
double starting_price(const Masks& loss_gradient, const Masks& sparsity_gradient);
double next_price(double price, double tilt, double rate);

}  // namespace espalier

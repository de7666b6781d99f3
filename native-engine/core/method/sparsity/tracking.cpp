#include "method/sparsity/tracking.h"

#include <algorithm>
#include <cmath>

#include "base/chunks.h"
#include "method/masks/hard_concrete.h"
#include "method/masks/masks.h"
#include "method/sparsity/sparsity.h"

namespace espalier {

namespace {

constexpr int kIterations = 60;
constexpr double kPrecision = 1e-10;
// Log-alphas are rounded to float afterwards. The aim is a millionth above the target, so that the target counts as reached.
constexpr double kAbove = 1e-6;
// The price changes faster by this factor while the schedule can't be followed at all.
constexpr double kCatchUp = 5.0;
constexpr double kStart = 0.01;
// Takes the place of a gradient's norm that is 0. With little noise all gates may be fully open, and then only the price can move them.
constexpr double kLeastNorm = 1e-4;

double clamped(double log_alpha) { return std::clamp(log_alpha, hard_concrete::kMinLogAlpha, hard_concrete::kMaxLogAlpha); }

// The factors by which a tilt multiplies the moves that close and those that open.
struct Factors {
  double closing, opening;
  explicit Factors(double tilt) : closing(std::exp(std::min(tilt, kSpeedUp))), opening(std::exp(std::min(-tilt, kSpeedUp))) {}
  double tilted(float before, float after) const {
    const double move = static_cast<double>(after) - before;
    return move * (move < 0 ? closing : opening);
  }
};

struct Tilted {
  double sparsity = 0;
  double slope = 0;  // by the tilt; never negative
};

// The moves of all log-alphas, in the order of a state.
struct Moves {
  const CostRule& rule;
  double hidden_size;
  std::array<size_t, 6> first;  // the place of the first gate of each kind
  std::span<const float> before, after;
  std::vector<Probability> tilted;  // for all gates, by the last tilt that was tried
};

Moves moves_of(const ModelConfig& config, const CostRule& rule, const StateLayout& layout, std::span<const float> before,
               std::span<const float> after) {
  Moves moves{rule, static_cast<double>(config.hidden_size), {}, before, after, std::vector<Probability>(after.size())};
  size_t kind = 0;
  for (const char* name : {"mask.head", "mask.intermediate", "mask.hidden", "mask.kv_group", "mask.attention", "mask.mlp"}) {
    const StateLayout::Entry* e = layout.find(name);
    moves.first[kind++] = e ? static_cast<size_t>(e->offset - layout.lora_size()) : 0;
  }
  return moves;
}

// Computes the gates in chunks on several threads, and the sums in the order on which the bits of runs depend.
Tilted tilted_sparsity(Moves& moves, double tilt) {
  const Factors factors(tilt);
  const bool closing_grows = tilt<kSpeedUp, opening_shrinks = tilt> - kSpeedUp;
  for_each_in_chunks(static_cast<int64_t>(moves.tilted.size()), kGatesTogether, [&](int64_t i) {
    const double move = factors.tilted(moves.before[i], moves.after[i]), a = moves.before[i] + move;
    const double closed = hard_concrete::closed_probability(clamped(a));
    const bool moves_on = a == clamped(a) && (move < 0 ? closing_grows : opening_shrinks);
    moves.tilted[i] = {hard_concrete::opposite(closed), moves_on ? std::abs(move) * hard_concrete::slope_at(closed) : 0.0};
  });
  const auto gate = [&](GateKind kind, size_t index) { return moves.tilted[moves.first[static_cast<size_t>(kind)] + index]; };
  const CostRule& rule = moves.rule;
  const auto [heads, units, kv, hidden] = rule.sums(gate);
  const Cost& per = rule.per();
  const OpenGates open{heads.open, units.open, kv.open, hidden.open};
  const double d = moves.hidden_size, parts = rule.in_proportion(open);
  const double parts_slope = heads.slope * per.head + units.slope * per.unit + kv.slope * per.kv;
  const double alone_slope = heads.slope * per.head_alone + units.slope * per.unit_alone + kv.slope * per.kv_alone;
  return {1.0 - (parts * hidden.open / d + rule.alone(open)) / rule.all(),
          (parts_slope * hidden.open + parts * hidden.slope) / (d * rule.all()) + alone_slope / rule.all()};
}

double norm(const Masks& gradient) {
  double sum = 0;
  for (const auto* values : kinds_of(gradient))
    for (const float v : *values) sum += static_cast<double>(v) * v;
  return std::sqrt(sum);
}

// Finds the tilt by Newton's method within a bracket.
double solve(Moves& moves, double wanted) {
  double low = -kTiltLimit, high = kTiltLimit, tilt = 0;
  for (int i = 0; i < kIterations; i++) {
    const Tilted at = tilted_sparsity(moves, tilt);
    const double excess = at.sparsity - wanted;
    if (std::abs(excess) < kPrecision) break;
    (excess > 0 ? high : low) = tilt;
    if (low >= high) break;  // even the limit is not enough
    const double next = at.slope > 0 ? tilt - excess / at.slope : (excess > 0 ? low : high);
    const bool passes_end = (next <= low && low == -kTiltLimit) || (next >= high && high == kTiltLimit);
    tilt = passes_end ? std::clamp(next, low, high) : next > low && next < high ? next : (low + high) / 2;
  }
  return tilt;
}

}  // namespace

double tilt_moves(const ModelConfig& config, const ShapeTarget& shape, const StateLayout& layout, std::span<const float> before,
                  std::span<float> after, double wanted) {
  const CostRule rule(config, shape, layout.gates());
  Moves moves = moves_of(config, rule, layout, before, after);
  const double tilt = solve(moves, wanted + kAbove);
  const Factors factors(tilt);
  for_each_in_chunks(static_cast<int64_t>(after.size()), kGatesTogether,
                     [&](int64_t i) { after[i] = static_cast<float>(clamped(before[i] + factors.tilted(before[i], after[i]))); });
  return tilt;
}

double starting_price(const Masks& loss_gradient, const Masks& sparsity_gradient) {
  const double loss = norm(loss_gradient), sparsity = norm(sparsity_gradient);
  return sparsity > 0 ? -kStart * (loss > 0 ? loss : kLeastNorm) / sparsity : 0.0;
}

double next_price(double price, double tilt, double rate) {
  const double change = std::clamp(tilt, -kSpeedUp, kSpeedUp);
  return price * std::exp(rate * change * (std::abs(tilt) >= kTiltLimit ? kCatchUp : 1.0));
}

}  // namespace espalier

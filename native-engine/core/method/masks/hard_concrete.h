// The hard concrete distribution of one mask: its samples, their derivative, and the probability that the gate is open.
#pragma once
#include <algorithm>
#include <cmath>
#include <span>

namespace espalier::hard_concrete {

inline constexpr double kLow = -0.1, kHigh = 1.1, kTemperature = 2.0 / 3.0, kEps = 1e-6;
inline const double kMinLogAlpha = std::log(0.01), kMaxLogAlpha = std::log(100.0);

inline double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// Returns the random part of a sample, which does not depend on the log-alpha. `uniform` lies in (0, 1).
inline double noise(double uniform) {
  const double n = kEps + (1.0 - 2.0 * kEps) * uniform;
  return std::log(n) - std::log1p(-n);
}

inline float sample(double log_alpha, double noise) {
  const double s = sigmoid((noise + log_alpha) / kTemperature);
  return static_cast<float>(std::clamp(s * (kHigh - kLow) + kLow, 0.0, 1.0));
}

// Returns d z / d log_alpha of a sample z, which follows from z alone; 0 where the clamp is active.
inline double sample_derivative(double z) {
  if (z <= 0.0 || z >= 1.0) return 0.0;
  const double s = (z - kLow) / (kHigh - kLow);
  return (kHigh - kLow) * s * (1.0 - s) / kTemperature;
}

inline double closed_probability(double log_alpha) { return sigmoid(kTemperature * std::log(-kLow / kHigh) - log_alpha); }

// Returns the probability that a gate is open from the probability that it is closed. Neither is ever exactly 0 or 1.
inline double opposite(double closed) { return 1.0 - std::clamp(closed, kEps, 1.0 - kEps); }
// Returns d open / d log_alpha from the same probability; 0 where the clamp is active.
inline double slope_at(double closed) { return closed <= kEps || closed >= 1.0 - kEps ? 0.0 : closed * (1.0 - closed); }

inline double open_probability(double log_alpha) { return opposite(closed_probability(log_alpha)); }

// Returns how many of the gates are expected to be open.
inline double expected_open(std::span<const float> log_alphas) {
  double sum = 0;
  for (const float a : log_alphas) sum += open_probability(a);
  return sum;
}

// Returns the value of a gate that the deterministic mask keeps open.
inline float soft_value(double log_alpha) { return static_cast<float>(sigmoid(0.8 * log_alpha / kTemperature)); }

}  // namespace espalier::hard_concrete

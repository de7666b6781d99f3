// The hard concrete distribution of one mask: sampling, its derivative, the probability of being open.
#pragma once
#include <algorithm>
#include <cmath>
#include <span>

namespace espalier::hard_concrete {

inline constexpr double kLow = -0.1, kHigh = 1.1, kTemperature = 2.0 / 3.0, kEps = 1e-6;
inline const double kMinLogAlpha = std::log(0.01), kMaxLogAlpha = std::log(100.0);

inline double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// The random part of a sample, in which the log-alpha has no part. uniform in (0, 1)
inline double noise(double uniform) {
  const double n = kEps + (1.0 - 2.0 * kEps) * uniform;
  return std::log(n) - std::log1p(-n);
}

inline float sample(double log_alpha, double noise) {
  const double s = sigmoid((noise + log_alpha) / kTemperature);
  return static_cast<float>(std::clamp(s * (kHigh - kLow) + kLow, 0.0, 1.0));
}

// d z / d log_alpha of a sample, from the sample alone; 0 where the clamp is active.
inline double sample_derivative(double z) {
  if (z <= 0.0 || z >= 1.0) return 0.0;
  const double s = (z - kLow) / (kHigh - kLow);
  return (kHigh - kLow) * s * (1.0 - s) / kTemperature;
}

inline double closed_probability(double log_alpha) { return sigmoid(kTemperature * std::log(-kLow / kHigh) - log_alpha); }

// The probability that a gate is open, by the one that it is closed. Neither is ever quite 0 or 1.
inline double opposite(double closed) { return 1.0 - std::clamp(closed, kEps, 1.0 - kEps); }
// d open / d log_alpha, by the same; 0 where the clamp is active.
inline double slope_at(double closed) { return closed <= kEps || closed >= 1.0 - kEps ? 0.0 : closed * (1.0 - closed); }

inline double open_probability(double log_alpha) { return opposite(closed_probability(log_alpha)); }

// How many of the gates are expected to be open.
inline double expected_open(std::span<const float> log_alphas) {
  double sum = 0;
  for (const float a : log_alphas) sum += open_probability(a);
  return sum;
}

inline double open_probability_derivative(double log_alpha) { return slope_at(closed_probability(log_alpha)); }

// Value of a gate that the deterministic mask keeps.
inline float soft_value(double log_alpha) { return static_cast<float>(sigmoid(0.8 * log_alpha / kTemperature)); }

}  // namespace espalier::hard_concrete

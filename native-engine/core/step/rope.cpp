#include "step/rope.h"

#include <cmath>

namespace espalier {

// Llama 3 leaves short wavelengths alone, stretches long ones by `factor` and blends in between.
static double scaled_frequency(double frequency, const RopeScaling& s) {
  if (s.type == RopeType::kDefault) return frequency;
  if (s.type == RopeType::kLinear) return frequency / s.factor;
  const double wavelength = 2.0 * M_PI / frequency, original = static_cast<double>(s.original_max_positions);
  if (wavelength < original / s.high_freq_factor) return frequency;
  if (wavelength > original / s.low_freq_factor) return frequency / s.factor;
  const double smooth = (original / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return frequency * (smooth + (1.0 - smooth) / s.factor);
}

void make_rope_tables(const ModelConfig& config, int64_t tokens, std::vector<float>& cos, std::vector<float>& sin) {
  const int64_t half = config.head_dim / 2;
  cos.resize(tokens * half);
  sin.resize(tokens * half);
  for (int64_t j = 0; j < half; j++) {
    const double exponent = 2.0 * static_cast<double>(j) / static_cast<double>(config.head_dim);
    const double frequency = scaled_frequency(std::pow(config.rope_theta, -exponent), config.rope_scaling);
    for (int64_t t = 0; t < tokens; t++) {
      cos[t * half + j] = static_cast<float>(std::cos(static_cast<double>(t) * frequency));
      sin[t * half + j] = static_cast<float>(std::sin(static_cast<double>(t) * frequency));
    }
  }
}

}  // namespace espalier

#include "step/rope.h"

#include <algorithm>
#include <cmath>

namespace espalier {

// Yarn leaves the first pairs unchanged, stretches the last ones by `factor`, and blends in between. pair_of finds the pair that turns a
// given number of times over the original positions from the frequency that it would have. Pairs are counted from 0.
static double yarn_frequency(const ModelConfig& config, int64_t pair, double frequency) {
  const RopeScaling& s = config.rope_scaling;
  const double dim = static_cast<double>(config.head_dim);
  const auto pair_of = [&](double turns) {
    return dim * std::log(static_cast<double>(s.original_max_positions) / (turns * 2.0 * M_PI)) / (2.0 * std::log(config.rope_theta));
  };
  double first = pair_of(s.beta_fast), last = pair_of(s.beta_slow);
  if (s.truncate) first = std::floor(first), last = std::ceil(last);
  first = std::max(first, 0.0);
  last = std::min(last, dim - 1.0);
  if (first == last) last += 0.001;
  const double stretched = std::clamp((static_cast<double>(pair) - first) / (last - first), 0.0, 1.0);
  return frequency * (1.0 - stretched) + frequency / s.factor * stretched;
}

// Llama 3 leaves short wavelengths unchanged, stretches long ones by `factor`, and blends in between.
static double scaled_frequency(const ModelConfig& config, int64_t pair, double frequency) {
  const RopeScaling& s = config.rope_scaling;
  if (s.type == RopeType::kDefault) return frequency;
  if (s.type == RopeType::kLinear) return frequency / s.factor;
  if (s.type == RopeType::kYarn) return yarn_frequency(config, pair, frequency);
  const double wavelength = 2.0 * M_PI / frequency, original = static_cast<double>(s.original_max_positions);
  if (wavelength < original / s.high_freq_factor) return frequency;
  if (wavelength > original / s.low_freq_factor) return frequency / s.factor;
  const double smooth = (original / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return frequency * (smooth + (1.0 - smooth) / s.factor);
}

static RopeTable make_table(const ModelConfig& config, int64_t tokens) {
  const int64_t half = config.head_dim / 2;
  const double attention = config.rope_scaling.attention_factor;
  RopeTable out;
  out.cos.resize(tokens * half);
  out.sin.resize(tokens * half);
  for (int64_t j = 0; j < half; j++) {
    const double exponent = 2.0 * static_cast<double>(j) / static_cast<double>(config.head_dim);
    const double frequency = scaled_frequency(config, j, std::pow(config.rope_theta, -exponent));
    for (int64_t t = 0; t < tokens; t++) {
      out.cos[t * half + j] = static_cast<float>(attention * std::cos(static_cast<double>(t) * frequency));
      out.sin[t * half + j] = static_cast<float>(attention * std::sin(static_cast<double>(t) * frequency));
    }
  }
  return out;
}

RopeTables make_rope_tables(const ModelConfig& config, int64_t tokens) {
  RopeTables out{make_table(config, tokens), {}};
  if (config.local_rope_theta == 0) return out;
  ModelConfig local = config;
  local.rope_theta = config.local_rope_theta;
  local.rope_scaling = {};
  out.local = make_table(local, tokens);
  return out;
}

RopeTables at_positions(const RopeTables& tables, int64_t head_dim, const std::vector<int32_t>& positions) {
  const int64_t half = head_dim / 2;
  const auto rows = [&](const std::vector<float>& table) {
    std::vector<float> out(table.empty() ? 0 : positions.size() * static_cast<size_t>(half));
    for (size_t n = 0; n < positions.size() && !out.empty(); n++)
      std::copy_n(table.begin() + positions[n] * half, half, out.begin() + static_cast<int64_t>(n) * half);
    return out;
  };
  return {{rows(tables.usual.cos), rows(tables.usual.sin)}, {rows(tables.local.cos), rows(tables.local.sin)}};
}

}  // namespace espalier

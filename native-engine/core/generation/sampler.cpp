#include "generation/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "espalier/base/error.h"
#include "method/philox.h"

namespace espalier {

namespace {

uint32_t most_likely(std::span<const float> logits) {
  return static_cast<uint32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// Returns weights at the temperature that are proportional to the probabilities.
std::vector<double> weights_of(std::span<const float> logits, double temperature) {
  const double top = logits[most_likely(logits)];
  std::vector<double> weights(logits.size());
  for (size_t i = 0; i < logits.size(); i++) weights[i] = std::exp((static_cast<double>(logits[i]) - top) / temperature);
  return weights;
}

// Returns the most likely tokens, likeliest first and among equals the lower id first, until they have `share` of the whole probability.
std::vector<uint32_t> nucleus(const std::vector<double>& weights, double share) {
  std::vector<uint32_t> order(weights.size());
  std::iota(order.begin(), order.end(), 0u);
  const double wanted = share * std::accumulate(weights.begin(), weights.end(), 0.0);
  const auto before = [&](uint32_t a, uint32_t b) { return weights[a] != weights[b] ? weights[a] > weights[b] : a < b; };
  double mass = 0;
  // Mostly few tokens are enough, so only few are sorted at first.
  for (size_t sorted = 0, next = std::min<size_t>(64, order.size()); sorted < order.size(); next = std::min(next * 8, order.size())) {
    std::partial_sort(order.begin() + static_cast<int64_t>(sorted), order.begin() + static_cast<int64_t>(next), order.end(), before);
    for (; sorted < next; sorted++) {
      mass += weights[order[sorted]];
      if (mass < wanted) continue;
      order.resize(sorted + 1);
      return order;
    }
  }
  return order;
}

}  // namespace

uint32_t choose_token(std::span<const float> logits, const Sampling& sampling, int64_t index) {
  for (const float logit : logits)
    if (!std::isfinite(logit))
      throw Error(ErrorCode::kInvalidArgument, "model", "the model gives logits that are not finite: no token can be chosen");
  if (sampling.temperature == 0) return most_likely(logits);
  const std::vector<double> weights = weights_of(logits, sampling.temperature);
  std::vector<uint32_t> tokens;
  if (sampling.top_p < 1) {
    tokens = nucleus(weights, sampling.top_p);
  } else {
    tokens.resize(weights.size());
    std::iota(tokens.begin(), tokens.end(), 0u);
  }
  double mass = 0;
  for (const uint32_t token : tokens) mass += weights[token];
  double left = mass * random_uniform(sampling.seed, index, static_cast<uint32_t>(RandomStream::kSampling), 0);
  for (const uint32_t token : tokens)
    if ((left -= weights[token]) < 0) return token;
  return tokens.back();
}

}  // namespace espalier

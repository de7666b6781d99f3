// Times the host's arithmetic of the masks in a step, part by part. It needs no weights of a model, so large models can be timed too.
#pragma once
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "bench_models.h"
#include "method/masks/masks.h"
#include "method/sparsity/sparsity.h"
#include "method/sparsity/tracking.h"
#include "real_steps.h"

namespace espalier::bench {

// Returns the shortest of several calls, in seconds: the time of a call that no other program disturbs.
inline double least_of_calls(const std::function<void()>& call) {
  double least = 1e9;
  for (int i = 0; i < 40; i++) {
    const auto begin = std::chrono::steady_clock::now();
    call();
    least = std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return least;
}

// Prints a line of JSON with the seconds of each part, in the order of a step. The noise is drawn ahead of the step, while a card is at
// work.
inline void time_mask_arithmetic(const std::string& shape, double closed, int threads) {
  if (threads > 0) omp_set_num_threads(threads);
  const ModelConfig config = shape_config(shape);
  LoraSpec none;
  none.targets = {};
  TrainState state = state_on_the_way(StateLayout(config, none), closed, 1);
  const LogAlphas log_alphas(state);
  const MaskNoise noise = mask_noise(log_alphas, 1, 1);
  const Masks z = sample_masks(log_alphas, noise);
  const ExpectedSparsity expected(config, log_alphas);
  Masks gradient = z;
  const std::vector<float> before(state.params().begin(), state.params().end());
  std::vector<float> moved = before, after;
  for (size_t i = 0; i < moved.size(); i++) moved[i] += static_cast<float>(0.1 * random_normal(5, 0, 1, static_cast<int64_t>(i)));
  std::printf("{\"mask_arithmetic\":\"%s\",\"gates\":%zu,\"threads\":%d", shape.c_str(), before.size(), omp_get_max_threads());
  const auto part = [](const char* name, const std::function<void()>& call) { std::printf(",\"%s_s\":%.6f", name, least_of_calls(call)); };
  part("noise_ahead", [&] { mask_noise(log_alphas, 1, 2); });
  part("sampling", [&] { sample_masks(log_alphas, noise); });
  part("gradients", [&] {
    log_alpha_gradient(z, gradient);
    expected.add_gradient(0.1, gradient);
  });
  part("tilt", [&] {
    after = moved;
    tilt_moves(config, state.shape, state, before, after, expected.value() + 1e-4);
  });
  part("expected_sparsity", [&] { ExpectedSparsity(config, log_alphas).value(); });
  std::printf("}\n");
}

}  // namespace espalier::bench

// How fast models generate on a device, in turns, so that a machine whose speed drifts slows all alike.
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "espalier/device.h"
#include "espalier/model_weights.h"
#include "espalier/trainer.h"

namespace espalier {

struct SpeedOptions {
  int64_t prompt = 128;   // tokens of each prompt
  int64_t tokens = 32;    // decoded in each round, by each sequence
  int64_t sequences = 1;  // that are decoded together
  int64_t rounds = 0;     // after one that does not count; 0: until the ratios are certain, as far as there is time
  ComputeDType dtype = ComputeDType::kF32;
  BackendSpec backend;
};

// The median of a sample, and the interval in which the median of many more would lie in 95 of 100 cases, whatever their distribution.
struct MedianInterval {
  double median = 1, low = 1, high = 1;
  double half_width() const { return (high - low) / 2 / median; }  // as a share
};
MedianInterval median_interval(std::vector<double> values);

// Medians over the rounds.
struct Speed {
  double prefill_seconds = 0;                // of one prompt
  double pass_seconds = 0;                   // of one token more for every sequence
  MedianInterval prefill_ratio, pass_ratio;  // times by those of the first model in the same round
  uint64_t weight_bytes = 0;                 // that a pass reads
};

struct SpeedResult {
  std::vector<Speed> models;
  int64_t rounds = 0;
  double copy_bytes_per_second = 0;  // read and written, by the device's own copy of what no cache holds
};

// Throws Error(kInvalidArgument, "prompt_tokens" | "tokens" | "sequences" | "rounds"), Error(kCancelled).
SpeedResult measure_speed(const std::vector<std::shared_ptr<const ModelWeights>>& models, const SpeedOptions& options,
                          const std::function<void(double done_share)>& on_progress, const std::atomic<bool>& cancel);

}  // namespace espalier

// How fast models generate on a device, in turns, so that a machine whose speed drifts slows all alike.
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "espalier/device.h"
#include "espalier/dtypes.h"
#include "espalier/model_weights.h"

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

struct SpeedTableOptions {
  bool decode = false;    // one token more for every sequence; else a prompt
  int64_t context = 128;  // tokens of the prompt, or those that a new token looks back on
  int64_t sequences = 1;  // that are decoded together
  int64_t rounds = 0;     // of each width; 0: as many as the time for it allows
  ComputeDType dtype = ComputeDType::kF32;
  BackendSpec backend;
};

// The median time of a part of a pass, with these widths: "q", "kv", "attention", "o", "gate_up" and "down" of one layer by its heads,
// key/value heads or units, "attention_rest" and "mlp_rest" of one layer that has them, and "fixed" of the whole pass.
struct PartTime {
  std::string part;
  int64_t width = 0;               // of those without one: 0
  int64_t hidden = 0;              // hidden units of the model
  double seconds = 0, spread = 0;  // half the width of the interval in which the median lies, as a share
};

struct SpeedTable {
  std::vector<PartTime> times;
  int64_t rounds = 0;       // of the widths, the least
  double pass_seconds = 0;  // of the intact model, measured as a whole; the times of its parts add up to it
  double spread = 0;
};

// Times decoders of random models of the shape with narrower layers, op by op. Throws Error(kInvalidArgument, "context" | "sequences" |
// "rounds"), Error(kCancelled).
SpeedTable measure_speed_table(const ModelConfig& config, const SpeedTableOptions& options,
                               const std::function<void(double done_share)>& on_progress, const std::atomic<bool>& cancel);

}  // namespace espalier

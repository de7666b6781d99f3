// Measures how fast models generate on a device. They take turns, so that a machine whose speed drifts slows all alike.
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "espalier/base/dtypes.h"
#include "espalier/device/device.h"
#include "espalier/model/model_weights.h"

namespace espalier {

struct SpeedOptions {
  int64_t prompt = 128;   // the tokens of each prompt
  int64_t tokens = 32;    // the tokens that each sequence decodes in a round
  int64_t sequences = 1;  // the number of sequences that are decoded together
  int64_t rounds = 0;     // the rounds after one that does not count; 0: until the ratios are certain, as far as there is time
  ComputeDType dtype = ComputeDType::kF32;
  BackendSpec backend;
};

// The median of a sample, and an interval that holds the true median in 95 of 100 cases, whatever the distribution is.
struct MedianInterval {
  double median = 1, low = 1, high = 1;
  double half_width() const { return (high - low) / 2 / median; }  // as a share of the median
};
MedianInterval median_interval(std::vector<double> values);

// The medians over the rounds.
struct Speed {
  double prefill_seconds = 0;                // for one prompt
  double pass_seconds = 0;                   // for one more token of every sequence
  MedianInterval prefill_ratio, pass_ratio;  // each time divided by that of the first model in the same round
  uint64_t weight_bytes = 0;                 // the bytes of weights that a pass reads
};

struct SpeedResult {
  std::vector<Speed> models;
  int64_t rounds = 0;
  double copy_bytes_per_second = 0;  // bytes read and written by the device's own copy of a matrix that no cache holds
};

// Throws Error(kInvalidArgument, "prompt_tokens" | "tokens" | "sequences" | "rounds") and Error(kCancelled).
SpeedResult measure_speed(const std::vector<std::shared_ptr<const ModelWeights>>& models, const SpeedOptions& options,
                          const std::function<void(double done_share)>& on_progress, const std::atomic<bool>& cancel);

struct SpeedTableOptions {
  bool decode = false;    // true: one more token for every sequence; false: a prompt
  int64_t context = 128;  // the tokens of the prompt, or the tokens before a new token
  int64_t sequences = 1;  // the number of sequences that are decoded together
  int64_t rounds = 0;     // the rounds of each width; 0: as many as the time for it allows
  ComputeDType dtype = ComputeDType::kF32;
  BackendSpec backend;
};

// The median time of a part of a pass at one width. "q", "kv", "attention", "o", "gate_up" and "down" are parts of one layer, by its heads,
// key/value heads or units; "attention_rest" and "mlp_rest" are those of one layer that has them; "fixed" is that of the whole pass.
struct PartTime {
  std::string part;
  int64_t width = 0;               // 0 for a part without a width
  int64_t hidden = 0;              // the hidden units of the model
  double seconds = 0, spread = 0;  // spread: half the width of the median's interval, as a share of the median
};

struct SpeedTable {
  std::vector<PartTime> times;
  int64_t rounds = 0;       // the least number of rounds of any width
  double pass_seconds = 0;  // the time of the intact model, measured as a whole; the times of its parts add up to it
  double spread = 0;
};

// Times decoders of random models of this shape with narrower layers, op by op. Throws Error(kInvalidArgument, "context" | "sequences" |
// "rounds") and Error(kCancelled).
SpeedTable measure_speed_table(const ModelConfig& config, const SpeedTableOptions& options,
                               const std::function<void(double done_share)>& on_progress, const std::atomic<bool>& cancel);

}  // namespace espalier

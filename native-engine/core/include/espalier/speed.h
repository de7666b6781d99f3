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
  int64_t rounds = 5;     // after one that does not count
  ComputeDType dtype = ComputeDType::kF32;
  BackendSpec backend;
};

// Medians over the rounds.
struct Speed {
  double prefill_seconds = 0;                 // of one prompt
  double pass_seconds = 0;                    // of one token more for every sequence
  double prefill_ratio = 1, pass_ratio = 1;   // times by those of the first model in the same round
  uint64_t parameters = 0, weight_bytes = 0;  // all of them; those that a pass reads
};

struct SpeedResult {
  std::vector<Speed> models;
  double copy_bytes_per_second = 0;  // read and written, by the device's own copy of what no cache holds
};

// Throws Error(kInvalidArgument, "prompt_tokens" | "tokens" | "sequences" | "rounds"), Error(kCancelled).
SpeedResult measure_speed(const std::vector<std::shared_ptr<const ModelWeights>>& models, const SpeedOptions& options,
                          const std::function<void(double done_share)>& on_progress, const std::atomic<bool>& cancel);

}  // namespace espalier

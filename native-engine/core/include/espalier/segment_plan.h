// The settings of the steps of one segment.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace espalier {

struct LossWeights {
  double layer = 0.9;
  double kl = 0.1;
  double lm = 0.0;  // next-token cross-entropy, mean over the predictions
  double temperature = 2.0 / 3.0;
};

// How the expected sparsity is held to the scheduled one. kMultipliers: Lagrange multipliers that learn, as published. kTracking: the
// tracker (core/method/tracking.h); every step ends at its scheduled sparsity.
enum class SparsityControl { kMultipliers, kTracking };

// How pruning at once rates heads and units, on the model as it is (core/method/one_shot.h).
enum class Importance { kMagnitude, kWanda, kTaylor };

struct OneShot {
  Importance importance = Importance::kMagnitude;
  int64_t calibration_sequences = 128;  // rows of the training text, each once; those that there are
};

// The options that stay the same over the steps of one segment.
struct SegmentPlan {
  uint64_t seed = 0;
  LossWeights losses;
  double mask_learning_rate = 0.1;
  double lambda_learning_rate = 1.0;
  SparsityControl sparsity_control = SparsityControl::kMultipliers;
  double gradient_clip_norm = 1.0;
  bool train_masks = true;  // else the deterministic masks hold, and only LoRA learns
  // The one step of this plan trains nothing: it closes heads and units at once, down to the scheduled sparsity.
  std::optional<OneShot> one_shot;
  std::function<void(double share)> on_calibrated;  // while a pruning at once or a refit looks at the text; may be empty
  // LoRA's moments count from this step on, at which they are 0: they hold nothing of earlier losses.
  int64_t moments_from_step = 0;
  std::vector<double> lora_learning_rate;  // one for each step of the segment
  std::vector<double> scheduled_sparsity;  // one for each step; same length
  // The segment ends early after the first step whose expected sparsity (after the update) reaches this value.
  std::optional<double> stop_at_expected_sparsity;
  // No step begins that would end after this time, if it took as long as the step before it. The first step always runs.
  std::optional<std::chrono::steady_clock::time_point> end_by;

  bool has_time_for_another(double step_seconds) const {
    return !end_by || std::chrono::steady_clock::now() + std::chrono::duration<double>(step_seconds) <= *end_by;
  }
};

}  // namespace espalier

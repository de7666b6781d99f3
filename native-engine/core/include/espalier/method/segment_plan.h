// The settings that the steps of one segment have.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "espalier/method/losses.h"

namespace espalier {

// How the expected sparsity follows the scheduled one. kMultipliers: by Lagrange multipliers that learn, as published. kTracking: by the
// tracker (core/method/sparsity/tracking.h), under which every step ends at its scheduled sparsity.
enum class SparsityControl { kMultipliers, kTracking };

// How pruning at once rates heads and units of the unpruned model (core/method/one_shot.h).
enum class Importance { kMagnitude, kWanda, kTaylor, kFisher };

// The parts that a layer keeps.
struct KeptParts {
  int64_t heads = 0, units = 0;
};

struct OneShot {
  Importance importance = Importance::kMagnitude;
  int64_t calibration_sequences = 128;  // rows of the training text, each read once; if the text has fewer, all of them
  // For each layer the parts that it keeps, where they were chosen beforehand. Empty: as many close as the scheduled sparsity asks for.
  std::vector<KeptParts> layers = {};
};

// The options that stay the same over the steps of one segment.
struct SegmentPlan {
  uint64_t seed = 0;
  LossWeights losses;
  double mask_learning_rate = 0.1;
  double mask_noise = 1;  // the share of the hard concrete distribution's noise that sampled masks have; above 0
  double lambda_learning_rate = 1.0;
  SparsityControl sparsity_control = SparsityControl::kMultipliers;
  double gradient_clip_norm = 1.0;
  bool train_masks = true;  // false: the deterministic masks stay, and only LoRA learns
  // With this option the plan has one step that trains nothing: it closes heads and units at once, down to the scheduled sparsity.
  std::optional<OneShot> one_shot;
  std::function<void(double share)> on_calibrated;  // is called while a pruning at once or a refit reads the text; may be empty
  // LoRA's moments are 0 at this step and count from it, so they hold nothing of earlier losses.
  int64_t moments_from_step = 0;
  std::vector<double> lora_learning_rate;  // one for each step of the segment
  std::vector<double> scheduled_sparsity;  // one for each step; has the same length
  // The segment ends early, after the first step whose expected sparsity (after the update) reaches this value.
  std::optional<double> stop_at_expected_sparsity;
  // No step begins that would end after this time if it took as long as the step before it. The first step always runs.
  std::optional<std::chrono::steady_clock::time_point> end_by;

  bool has_time_for_another(double step_seconds) const {
    return !end_by || std::chrono::steady_clock::now() + std::chrono::duration<double>(step_seconds) <= *end_by;
  }
};

}  // namespace espalier

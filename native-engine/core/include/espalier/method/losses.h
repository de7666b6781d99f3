// The losses of a step: their weights, their values, and the table of their names.
#pragma once

namespace espalier {

// How the layers' outputs of student and teacher are compared. kRelative: each token's squared difference over the teacher's squares, the
// mean over tokens and layers; so no token or unit of large values decides alone. kSquared: the mean squared difference over tokens and
// units, summed over layers, as published.
enum class LayerLossScale { kRelative, kSquared };

struct LossWeights {
  double layer = 1;
  double kl = 1;    // the divergence of the predictions, the mean over tokens
  double lm = 0.0;  // next-token cross-entropy, the mean over the predictions
  double temperature = 1;
  LayerLossScale layer_scale = LayerLossScale::kRelative;

  bool need_teacher() const { return layer != 0 || kl != 0; }
};

// The values before their weights, NaN where a loss has no part in the step.
struct StepLosses {
  double layer_loss = 0, kl_loss = 0, lm_loss = 0;
};

// Calls visit(name, weight, value) for each loss. The fields of the engine's protocol are called nameWeight and nameLoss.
template <typename Visit>
void for_each_loss(Visit visit) {
  visit("layer", &LossWeights::layer, &StepLosses::layer_loss);
  visit("kl", &LossWeights::kl, &StepLosses::kl_loss);
  visit("lm", &LossWeights::lm, &StepLosses::lm_loss);
}

}  // namespace espalier

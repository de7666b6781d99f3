// Pruning at once, without training: heads and intermediate units are rated on the model as it is, and the least important ones
// close. Hidden units stay open: all layers share them, and taking any away at once breaks the model.
#pragma once
#include <vector>

#include "espalier/model_masks.h"

namespace espalier {

// Greater is more important. Ratings are compared within one layer and one kind only, those of layers over all layers.
struct GateImportance {
  std::vector<double> head;           // [L, H]
  std::vector<double> intermediate;   // [L, I]
  std::vector<double> kv_group = {};  // [L, G], that of a group's keys and values; its heads add theirs
  std::vector<double> layer = {};     // [L], how much the layer changes its input; only for gates of attention or MLPs
};

// Sums of squares over the calibration text's tokens, of each input feature of o_proj and down_proj in the intact model.
struct InputSquares {
  std::vector<double> heads;  // [L, H d]
  std::vector<double> units;  // [L, I]
};

// The root of the sum of squares of all weights that go with the head (grouped queries: of q_proj and o_proj) or the unit.
GateImportance magnitude_importance(const ModelWeights& model);
// The sum of |weight| times the norm of its input, over the columns of o_proj or down_proj that the head or unit feeds.
GateImportance wanda_importance(const ModelWeights& model, const InputSquares& squares);

// Log-alphas whose deterministic masks are exactly 0 and 1. Blocks of the least important layers close first, as many as the sparsity has
// room for, and one layer stays. Every other layer loses the same share of its heads and units, to within one head: where groups have
// gates, whole groups before single heads. Units make up for what heads are too large for. The sparsity is the wanted one, or above it by
// less than two units. Throws Error(kInvalidArgument, "scheduled_sparsity") where all heads and units together are fewer parameters. The
// shape target says what sparsity is a share of.
Masks one_shot_log_alphas(const ModelConfig& config, const ShapeTarget& shape, const BlockGates& gates, const GateImportance& importance,
                          double sparsity);

}  // namespace espalier

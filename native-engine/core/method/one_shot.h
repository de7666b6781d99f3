// Pruning at once, without training: heads and intermediate units are rated on the unpruned model, and the least important ones close.
// Hidden units stay open: all layers share them, and removing any of them at once breaks the model.
#pragma once
#include <vector>

#include "espalier/method/model_masks.h"
#include "espalier/method/segment_plan.h"

namespace espalier {

// The ratings of gates; a greater one is more important. Those of layers are compared over all layers. Those of gates are compared only
// within one layer and one kind, unless they are changes of the loss.
struct GateImportance {
  std::vector<double> head;           // [L, H]
  std::vector<double> intermediate;   // [L, I]
  std::vector<double> kv_group = {};  // [L, G], the rating of a group's keys and values; the ratings of its heads are added
  std::vector<double> layer = {};     // [L], how much the layer changes its input; needed only for gates of attention or MLPs
  bool over_layers = false;           // heads and units are rated by changes of the loss, which are compared over all layers and kinds
};

// The sums of squares of each input feature of o_proj and down_proj in the intact model, over the tokens of the calibration text.
struct InputSquares {
  std::vector<double> heads;  // [L, H d]
  std::vector<double> units;  // [L, I]
};

// Rates by the root of the sum of squares of all weights that belong to the head (with grouped queries: those of q_proj and o_proj) or the
// unit.
GateImportance magnitude_importance(const ModelWeights& model);
// Rates by the sum of |weight| times the norm of its input, over the columns of o_proj or down_proj that the head or unit feeds.
GateImportance wanda_importance(const ModelWeights& model, const InputSquares& squares);

// Returns log-alphas whose deterministic masks are 1 and whose gates stay open in every sample.
Masks open_log_alphas(const ModelConfig& config, const BlockGates& gates);

// Returns log-alphas whose deterministic masks are exactly 0 and 1. The sparsity is the wanted one, or above it by less than two units:
// units compensate for the size of heads. Throws Error(kInvalidArgument, "scheduled_sparsity") where all heads and units together are fewer
// parameters. The shape target says which cost the sparsity is a share of.
//
// Ratings of gates within one layer: blocks of the least important layers close first, as many as the sparsity has room for, and one layer
// stays. Every other layer loses the same share of its heads and units, to within one head; where groups have gates, whole groups close
// before single heads.
//
// Ratings over all layers: the parts with the smallest rating for their cost close. A part is a unit, or a head with its key/value head;
// where several heads read one key/value head, they are one part, whose rating is the sum of theirs. A block whose parts are all closed is
// closed as a whole.
Masks one_shot_log_alphas(const ModelConfig& config, const ShapeTarget& shape, const BlockGates& gates, const GateImportance& importance,
                          double sparsity);

// Return the key/value heads, with the query heads that read them, and the units of a layer: the highest rating first.
std::vector<int32_t> groups_by_rating(const ModelConfig& config, const GateImportance& importance, int64_t layer);
std::vector<int32_t> units_by_rating(const ModelConfig& config, const GateImportance& importance, int64_t layer);

// Returns such log-alphas where each layer keeps the given number of heads and units: those with the highest ratings. Heads that read one
// key/value head are kept or closed together. Throws Error(kInvalidArgument, "one_shot.layers...").
Masks log_alphas_of_widths(const ModelConfig& config, const BlockGates& gates, const GateImportance& importance,
                           const std::vector<KeptParts>& layers);

}  // namespace espalier

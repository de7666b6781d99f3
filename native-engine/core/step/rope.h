// Computes the tables of the rotary embedding, in double.
#pragma once
#include <vector>

#include "espalier/model/model_config.h"

namespace espalier {

// [tokens, head_dim / 2]
struct RopeTable {
  std::vector<float> cos, sin;
};

// `usual` has the model's rope scaling and is multiplied by its attention factor, so that the factor is applied to queries and keys.
// `local` is the table of layers with a sliding window, where these have their own base; otherwise it is empty.
struct RopeTables {
  RopeTable usual, local;
};
RopeTables make_rope_tables(const ModelConfig& config, int64_t tokens);

// Returns the rows of these positions.
RopeTables at_positions(const RopeTables& tables, int64_t head_dim, const std::vector<int32_t>& positions);

}  // namespace espalier

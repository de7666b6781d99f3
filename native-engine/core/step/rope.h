// Tables of the rotary embedding, computed in double.
#pragma once
#include <vector>

#include "espalier/model_config.h"

namespace espalier {

// cos and sin [tokens, head_dim / 2], with the model's rope scaling; times its attention factor, so that queries and keys take it along.
void make_rope_tables(const ModelConfig& config, int64_t tokens, std::vector<float>& cos, std::vector<float>& sin);

}  // namespace espalier

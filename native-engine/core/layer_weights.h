// The weights of one layer for one role, ready for its products.
#pragma once
#include <array>

#include "layer_pass.h"

namespace espalier {

struct LayerProducts {
  std::array<ProductPart, 3> qkv;
  int qkv_count = 0;
  std::array<ProductPart, 2> gate_up;
  int gate_up_count = 0;
  Tensor o, down;
};

// The attention part and the MLP part are made separately, each just before use. Masks and LoRA are
// folded in; norm weights are not, so that weights which nothing else changes keep their bits.
void prepare_attention(PassContext& c, const Role& role, int64_t layer, LayerProducts& out);
void prepare_mlp(PassContext& c, const Role& role, int64_t layer, LayerProducts& out);

// How a projection's open part lies in its full matrix; the same lists gather weights and scatter LoRA gradients.
struct ProjectionMap {
  const int32_t* rows = nullptr;
  const int32_t* cols = nullptr;
  const float* row_scale = nullptr;
  const float* col_scale = nullptr;
  int64_t row_count = 0, col_count = 0;
};
ProjectionMap projection_map(Backend& backend, const Role& role, int64_t layer, Projection p);

}  // namespace espalier

// The part of a model that is read to decode a token.
#pragma once
#include "device/memory.h"
#include "espalier/model/model_weights.h"

namespace espalier {

// Returns the bytes of all projections and of the head. Of the embedding only one row is read, which does not count.
inline uint64_t pass_bytes(const ModelWeights& model) {
  const auto bytes_of = [](const WeightView& view) { return static_cast<uint64_t>(view.rows * view.cols * dtype_bytes(view.dtype)); };
  uint64_t bytes = bytes_of(model.lm_head());
  for (int64_t l = 0; l < model.config().layer_count; l++)
    for (const WeightView& view : model.layer(l).proj) bytes += bytes_of(view);
  return bytes;
}

}  // namespace espalier

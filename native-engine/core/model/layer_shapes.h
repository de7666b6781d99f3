// The per-layer widths of a model: all alike when dense, taken from config.json's `espalier` object when compacted.
//
//   "espalier": {
//     "format_version": 1,
//     "form": "compacted",
//     "base_architecture": "LlamaForCausalLM",
//     "dense": {"hidden_size": .., "num_attention_heads": .., "num_key_value_heads": .., "intermediate_size": ..},
//     "layers": [{"num_attention_heads": 3, "num_key_value_heads": 2, "query_to_kv": [0, 0, 1], "intermediate_size": 77}, ..]
//   }
//
// `query_to_kv` says for each query head of the layer which of its key/value heads it reads. A layer without heads has no
// attention, one without intermediate units no MLP; their tensors are absent.
#pragma once
#include <vector>

#include "espalier/model_config.h"
#include "files/json_reader.h"

namespace espalier {

constexpr int64_t kEspalierFormatVersion = 1;

// Uses the dense widths already in `model`. Throws Error(kModelCorrupt | kModelUnsupported, "config.espalier...").
std::vector<LayerShape> read_layer_shapes(const JsonObject& config, const ModelConfig& model);

LayerShape dense_layer_shape(const ModelConfig& model);

// Whether all layers have the widths of the dense model.
bool has_dense_layers(const ModelConfig& model);

}  // namespace espalier

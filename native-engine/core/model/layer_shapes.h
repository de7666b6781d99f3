// The widths of a model's layers: all alike in a dense model, or taken from config.json's `espalier` object in a compacted one.
//
//   "espalier": {
//     "format_version": 1,
//     "form": "compacted",
//     "base_architecture": "LlamaForCausalLM",
//     "dense": {"hidden_size": .., "num_attention_heads": .., "num_key_value_heads": .., "intermediate_size": ..},
//     "layers": [{"num_attention_heads": 3, "num_key_value_heads": 2, "query_to_kv": [0, 0, 1], "intermediate_size": 77}, ..]
//   }
//
// `query_to_kv` gives for each query head of the layer the number of the key/value head that it reads. A layer without heads has no
// attention, and one without intermediate units has no MLP; their tensors are absent.
#pragma once
#include <vector>

#include "espalier/model/model_config.h"
#include "files/json_reader.h"

namespace espalier {

constexpr int64_t kEspalierFormatVersion = 1;

// Reads the widths. `model` must already have the dense widths. Throws Error(kModelCorrupt | kModelUnsupported, "config.espalier...").
std::vector<LayerShape> read_layer_shapes(const JsonObject& config, const ModelConfig& model);

LayerShape dense_layer_shape(const ModelConfig& model);

// Tells whether all layers have the widths of the dense model.
bool has_dense_layers(const ModelConfig& model);

}  // namespace espalier

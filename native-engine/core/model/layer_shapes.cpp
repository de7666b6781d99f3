#include "model/layer_shapes.h"

#include <algorithm>

namespace espalier {
namespace {

LayerShape read_layer(const JsonObject& node, const ModelConfig& model) {
  LayerShape layer;
  layer.heads = node.integer("num_attention_heads", 0, model.head_count);
  layer.kv_heads = node.integer("num_key_value_heads", layer.heads > 0 ? 1 : 0, layer.heads > 0 ? model.kv_head_count : 0);
  layer.intermediate = node.integer("intermediate_size", 0, model.intermediate_size);
  const std::vector<int64_t> map = node.integers("query_to_kv", 0, layer.kv_heads - 1, static_cast<size_t>(model.head_count));
  if (static_cast<int64_t>(map.size()) != layer.heads) {
    node.fail("query_to_kv", "has " + std::to_string(map.size()) + " entries: one for each of the " + std::to_string(layer.heads) +
                                 " query heads is required");
  }
  layer.kv_head_of_query.assign(map.begin(), map.end());
  return layer;
}

}  // namespace

LayerShape dense_layer_shape(const ModelConfig& model) {
  LayerShape layer{model.head_count, model.kv_head_count, model.intermediate_size, {}};
  const int64_t group = model.head_count / model.kv_head_count;
  for (int64_t h = 0; h < model.head_count; ++h) layer.kv_head_of_query.push_back(static_cast<int32_t>(h / group));
  return layer;
}

bool has_dense_layers(const ModelConfig& model) {
  const LayerShape dense = dense_layer_shape(model);
  return std::all_of(model.layers.begin(), model.layers.end(), [&](const LayerShape& layer) {
    return layer.heads == dense.heads && layer.kv_heads == dense.kv_heads && layer.intermediate == dense.intermediate &&
           layer.kv_head_of_query == dense.kv_head_of_query;
  });
}

std::vector<LayerShape> read_layer_shapes(const JsonObject& config, const ModelConfig& model) {
  const auto espalier = config.object("espalier");
  if (espalier) {
    const int64_t version = espalier->integer("format_version", 1, INT32_MAX);
    if (version > kEspalierFormatVersion) {
      throw Error(ErrorCode::kModelUnsupported, espalier->path_of("format_version"),
                  espalier->path_of("format_version") + " is " + std::to_string(version) + ": this build reads up to " +
                      std::to_string(kEspalierFormatVersion));
    }
  }
  const Json* list = espalier ? espalier->find("layers") : nullptr;
  if (list == nullptr) {
    return std::vector<LayerShape>(static_cast<size_t>(model.layer_count), dense_layer_shape(model));
  }
  if (!list->is_array() || static_cast<int64_t>(list->size()) != model.layer_count) {
    espalier->fail(
        "layers", "must be an array with one object for each of the " + std::to_string(model.layer_count) + " layers of num_hidden_layers");
  }
  std::vector<LayerShape> layers;
  for (size_t i = 0; i < list->size(); ++i) {
    const JsonObject node((*list)[i], espalier->path_of("layers[" + std::to_string(i) + "]"), ErrorCode::kModelCorrupt);
    layers.push_back(read_layer(node, model));
  }
  return layers;
}

}  // namespace espalier

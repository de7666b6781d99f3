#include "export/export_plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "model/layer_shapes.h"

namespace espalier {
namespace {

std::vector<float> full_mask(const std::vector<float>& given, int64_t size, const char* name) {
  const std::string field = std::string("masks.") + name;
  if (given.empty()) return std::vector<float>(static_cast<size_t>(size), 1.0f);
  if (static_cast<int64_t>(given.size()) != size) {
    throw Error(ErrorCode::kInvalidArgument, field,
                field + " has " + std::to_string(given.size()) + " values; the model asks for " + std::to_string(size));
  }
  for (const float z : given) {
    if (!(z >= 0.0f && z <= 1.0f)) throw Error(ErrorCode::kInvalidArgument, field, field + " holds a value outside [0, 1]");
  }
  return given;
}

std::vector<int64_t> all_of(int64_t count) {
  std::vector<int64_t> out(static_cast<size_t>(count));
  std::iota(out.begin(), out.end(), int64_t{0});
  return out;
}

std::vector<int64_t> open_of(const float* z, int64_t count) {
  std::vector<int64_t> out;
  for (int64_t i = 0; i < count; ++i) {
    if (z[i] != 0.0f) out.push_back(i);
  }
  return out;
}

// Keeps the open heads and units of one layer and says which kept key/value head each kept query head reads.
void compact_layer(const ExportPlan& plan, const ModelConfig& source, int64_t l, KeptLayer& kept, LayerShape& shape) {
  const LayerShape dense = source.layers[static_cast<size_t>(l)];
  kept.heads = open_of(plan.masks.head.data() + l * source.head_count, source.head_count);
  kept.units = open_of(plan.masks.intermediate.data() + l * source.intermediate_size, source.intermediate_size);
  kept.kv_heads.clear();
  for (const int64_t h : kept.heads) kept.kv_heads.push_back(dense.kv_head_of_query[static_cast<size_t>(h)]);
  std::sort(kept.kv_heads.begin(), kept.kv_heads.end());
  kept.kv_heads.erase(std::unique(kept.kv_heads.begin(), kept.kv_heads.end()), kept.kv_heads.end());
  shape = {
      static_cast<int64_t>(kept.heads.size()), static_cast<int64_t>(kept.kv_heads.size()), static_cast<int64_t>(kept.units.size()), {}};
  for (const int64_t h : kept.heads) {
    const auto at = std::lower_bound(kept.kv_heads.begin(), kept.kv_heads.end(), dense.kv_head_of_query[static_cast<size_t>(h)]);
    shape.kv_head_of_query.push_back(static_cast<int32_t>(at - kept.kv_heads.begin()));
  }
}

bool all_one(const std::vector<float>& z) {
  return std::all_of(z.begin(), z.end(), [](float v) { return v == 1.0f; });
}

// A model that is compacted already: nothing to fold into it, it is written as it is.
ExportPlan plan_as_is(const ModelConfig& source, const Masks& masks) {
  if (!(masks.head.empty() && masks.intermediate.empty() && masks.hidden.empty())) {
    throw Error(ErrorCode::kNotSupported, "masks", "the model is compacted already: masks can only be folded into a dense model");
  }
  ExportPlan plan;
  plan.compacted = true;
  plan.config = source;
  plan.hidden = all_of(source.hidden_size);
  for (const LayerShape& shape : source.layers) {
    plan.layers.push_back({all_of(shape.heads), all_of(shape.kv_heads), all_of(shape.intermediate)});
  }
  return plan;
}

}  // namespace

ExportPlan plan_export(const ModelConfig& source, const Masks& masks, ExportForm form) {
  if (!has_dense_layers(source)) return plan_as_is(source, masks);
  ExportPlan plan;
  plan.compacted = form == ExportForm::kCompacted;
  plan.config = source;
  plan.masks.head = full_mask(masks.head, source.layer_count * source.head_count, "head");
  plan.masks.intermediate = full_mask(masks.intermediate, source.layer_count * source.intermediate_size, "intermediate");
  plan.masks.hidden = full_mask(masks.hidden, source.hidden_size, "hidden");
  plan.hidden = all_of(source.hidden_size);
  if (source.tied_embeddings && !all_one(plan.masks.hidden)) {
    for (const float z : plan.masks.hidden) plan.final_norm_factor.push_back(z == 0.0f ? 1.0f : 1.0f / z);
  }
  plan.layers.assign(static_cast<size_t>(source.layer_count),
                     {all_of(source.head_count), all_of(source.kv_head_count), all_of(source.intermediate_size)});
  if (!plan.compacted) return plan;

  for (int64_t l = 0; l < source.layer_count; ++l) {
    compact_layer(plan, source, l, plan.layers[static_cast<size_t>(l)], plan.config.layers[static_cast<size_t>(l)]);
  }
  plan.hidden = open_of(plan.masks.hidden.data(), source.hidden_size);
  if (plan.hidden.empty()) plan.hidden = {0};  // a model needs a width; this unit's mask keeps it at zero
  const double ratio = static_cast<double>(source.hidden_size) / static_cast<double>(plan.hidden.size());
  plan.norm_scale = std::sqrt(ratio);
  plan.config.hidden_size = static_cast<int64_t>(plan.hidden.size());
  plan.config.rms_norm_eps = source.rms_norm_eps * ratio;
  return plan;
}

}  // namespace espalier

#include "export/export_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "export/export_checks.h"
#include "export/layer_layout.h"
#include "model/architecture.h"
#include "model/gguf_names.h"
#include "model/layer_shapes.h"

namespace espalier {
namespace {

constexpr int64_t kMultipleMax = 1024;

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

// Keeps the open heads and units of one layer, and notes which kept key/value head each kept query head reads.
KeptLayer compact_layer(const ExportPlan& plan, const ModelConfig& source, int64_t l, LayerShape& shape) {
  const LayerShape dense = source.layers[static_cast<size_t>(l)];
  KeptLayer kept;
  kept.source = l;
  kept.heads = open_of(plan.masks.head.data() + l * source.head_count, source.head_count);
  kept.units = open_of(plan.masks.intermediate.data() + l * source.intermediate_size, source.intermediate_size);
  for (const int64_t h : kept.heads) kept.kv_heads.push_back(dense.kv_head_of_query[static_cast<size_t>(h)]);
  std::sort(kept.kv_heads.begin(), kept.kv_heads.end());
  kept.kv_heads.erase(std::unique(kept.kv_heads.begin(), kept.kv_heads.end()), kept.kv_heads.end());
  shape = {static_cast<int64_t>(kept.heads.size()), static_cast<int64_t>(kept.kv_heads.size()), 0, {}, dense.rotary, dense.sliding};
  for (const int64_t h : kept.heads) {
    const auto at = std::lower_bound(kept.kv_heads.begin(), kept.kv_heads.end(), dense.kv_head_of_query[static_cast<size_t>(h)]);
    shape.kv_head_of_query.push_back(static_cast<int32_t>(at - kept.kv_heads.begin()));
  }
  return kept;
}

bool all_one(const std::vector<float>& z) {
  return std::all_of(z.begin(), z.end(), [](float v) { return v == 1.0f; });
}

// Keeps every part of every layer.
void keep_everything(ExportPlan& plan, const ModelConfig& source) {
  plan.hidden = all_of(source.hidden_size);
  for (int64_t l = 0; l < source.layer_count; ++l) {
    const LayerShape& shape = source.layers[static_cast<size_t>(l)];
    plan.layers.push_back({l, all_of(shape.heads), all_of(shape.kv_heads), all_of(shape.intermediate)});
  }
}

void read_masks(ExportPlan& plan, const ModelConfig& source, const Masks& masks) {
  plan.masks.head = full_mask(masks.head, source.layer_count * source.head_count, "head");
  plan.masks.intermediate = full_mask(masks.intermediate, source.layer_count * source.intermediate_size, "intermediate");
  plan.masks.hidden = full_mask(masks.hidden, source.hidden_size, "hidden");
  if (source.tied_embeddings && !all_one(plan.masks.hidden)) {
    for (const float z : plan.masks.hidden) plan.final_norm_factor.push_back(z == 0.0f ? 1.0f : 1.0f / z);
  }
}

void leave_out_closed(ExportPlan& plan, const ModelConfig& source) {
  for (int64_t l = 0; l < source.layer_count; ++l) {
    plan.layers[static_cast<size_t>(l)] = compact_layer(plan, source, l, plan.config.layers[static_cast<size_t>(l)]);
  }
  plan.hidden = open_of(plan.masks.hidden.data(), source.hidden_size);
  if (plan.hidden.empty()) plan.hidden.push_back(0);  // a model needs a hidden unit; the mask of this one is 0
}

// Drops layers with neither heads nor units, since they pass their input on. One layer always stays.
void drop_empty_layers(ExportPlan& plan) {
  std::vector<KeptLayer> layers;
  std::vector<LayerShape> shapes;
  for (size_t l = 0; l < plan.layers.size(); ++l) {
    const bool last_chance = l + 1 == plan.layers.size() && layers.empty();
    if (plan.layers[l].heads.empty() && plan.layers[l].units.empty() && !last_chance) continue;
    layers.push_back(plan.layers[l]);
    shapes.push_back(plan.config.layers[l]);
  }
  plan.layers = std::move(layers);
  plan.config.layers = std::move(shapes);
  plan.config.layer_count = static_cast<int64_t>(plan.layers.size());
}

// Recent versions of transformers refuse a LLaMA whose hidden size is not a multiple of its number of heads, even where head_dim is given.
// So this pads heads and hidden units until the sizes fit, in the cheapest way within the limits. Returns false where no such sizes exist.
struct WidthLimits {
  int64_t heads, hidden;
};
bool fit_transformers(ExportPlan& plan, HeadGrid& grid, int64_t units, int64_t multiple_of, const WidthLimits& limits) {
  const auto hidden = static_cast<int64_t>(plan.hidden.size());
  const int64_t head_dim = plan.config.head_dim;
  const auto layer_count = static_cast<int64_t>(plan.layers.size());
  HeadGrid best = grid;
  int64_t best_hidden = 0, best_cost = 0;
  for (HeadGrid tried = grid; tried.heads() <= limits.heads; ++tried.kv_heads) {
    const int64_t step = std::lcm(multiple_of, tried.heads());
    const int64_t width = (hidden + step - 1) / step * step;
    const int64_t per_layer = 2 * (tried.heads() + tried.kv_heads) * head_dim + 3 * units;
    const int64_t cost = width * (layer_count * per_layer + plan.config.vocab_size);
    if (width <= limits.hidden && (best_cost == 0 || cost < best_cost)) {
      best = tried;
      best_hidden = width;
      best_cost = cost;
    }
    if (plan.config.whole_norms) break;  // more heads, even of zeros, would change the length by which all heads are normed
  }
  if (best_cost == 0) return false;
  grid = best;
  pad_to(plan.hidden, best_hidden);
  return true;
}

// No width becomes larger than the source's for the sake of a multiple.
void fit_transformers(ExportPlan& plan, const ModelConfig& source, HeadGrid& grid, int64_t multiple_of) {
  const auto units = static_cast<int64_t>(plan.layers.front().units.size());
  const WidthLimits as_source{source.head_count, source.hidden_size};
  if (fit_transformers(plan, grid, units, multiple_of, as_source) || fit_transformers(plan, grid, units, 1, as_source)) return;
  // The source itself does not fit.
  fit_transformers(plan, grid, units, 1, {grid.heads() + source.head_count, std::numeric_limits<int64_t>::max()});
}

// llama.cpp assumes that the heads of an OLMo 2 are together as wide as the residual stream.
void fit_olmo2(ExportPlan& plan, HeadGrid& grid) {
  while (grid.heads() * plan.config.head_dim < static_cast<int64_t>(plan.hidden.size())) ++grid.kv_heads;
  pad_to(plan.hidden, grid.heads() * plan.config.head_dim);
}

void lay_out_heads_alike(ExportPlan& plan, const HeadGrid& grid, bool blocks) {
  for (size_t l = 0; l < plan.layers.size(); ++l) {
    const bool left_out = blocks && l > 0 && plan.layers[l].heads.empty();  // the first block of a DeciLM must have its attention
    if (!left_out) lay_out_heads(plan.layers[l], plan.config.layers[l], grid);
  }
}

void lay_out_units(ExportPlan& plan, const ModelConfig& source, const ExportRequest& request) {
  int64_t widest = 1;
  for (const KeptLayer& layer : plan.layers) widest = std::max(widest, static_cast<int64_t>(layer.units.size()));
  for (KeptLayer& layer : plan.layers) {
    auto width = static_cast<int64_t>(layer.units.size());
    if (request.form == ExportForm::kPadded) width = widest;
    // llama.cpp skips the attention of a layer without an MLP.
    if (request.container == ExportContainer::kGguf) width = std::max<int64_t>(width, 1);
    pad_to(layer.units, rounded_width(width, request.multiple_of, source.intermediate_size));
  }
}

void lay_out(ExportPlan& plan, const ModelConfig& source, const ExportRequest& request) {
  const bool alike = request.form == ExportForm::kPadded || request.form == ExportForm::kBlocks;
  const bool own_loader = request.container == ExportContainer::kSafetensors && request.form == ExportForm::kCompacted;
  // Where some layers have no rotary embedding or a sliding window, llama.cpp finds these layers by their numbers.
  const bool by_layer = !source.rotary_everywhere() || architecture_of(source).window == Window::kListed;
  const bool numbered = request.container == ExportContainer::kGguf && by_layer;
  if (!own_loader && !numbered) drop_empty_layers(plan);
  lay_out_units(plan, source, request);
  pad_to(plan.hidden, rounded_width(static_cast<int64_t>(plan.hidden.size()), request.multiple_of, source.hidden_size));
  if (alike) {
    HeadGrid grid = smallest_common_grid(plan.layers, plan.config.layers);
    if (request.container == ExportContainer::kGguf && source.whole_norms) fit_olmo2(plan, grid);
    if (request.container == ExportContainer::kSafetensors) {
      fit_transformers(plan, source, grid, request.multiple_of);
    }
    lay_out_heads_alike(plan, grid, request.form == ExportForm::kBlocks);
  } else if (!own_loader) {
    for (size_t l = 0; l < plan.layers.size(); ++l) {
      HeadGrid grid = smallest_grid(plan.layers[l], plan.config.layers[l]);
      if (l == 0) grid.kv_heads = std::max<int64_t>(grid.kv_heads, 1);  // llama.cpp needs a head in the first layer
      lay_out_heads(plan.layers[l], plan.config.layers[l], grid);
    }
  }
}

}  // namespace

int64_t context_length(const ExportPlan& plan) {
  const ModelConfig& c = plan.config;
  if (architecture_of(c).window == Window::kListed) return c.max_positions;
  const bool without_window = plan.container == ExportContainer::kGguf || plan.form == ExportForm::kBlocks;
  return without_window && c.sliding_window > 0 ? std::min(c.sliding_window, c.max_positions) : c.max_positions;
}

std::string gguf_architecture(const ExportPlan& plan) {
  const Architecture& a = computed_as(plan.config);
  return !a.gguf_uneven || is_uniform(plan.config.layers) ? a.gguf : "deci";
}

bool is_uniform(const std::vector<LayerShape>& layers) {
  const LayerShape& first = layers.front();
  if (first.heads == 0 || first.intermediate == 0 || first.heads % first.kv_heads != 0) return false;
  for (int64_t h = 0; h < first.heads; ++h) {
    if (first.kv_head_of_query[static_cast<size_t>(h)] != h / (first.heads / first.kv_heads)) return false;
  }
  return std::all_of(layers.begin(), layers.end(), [&](const LayerShape& l) {
    return l.heads == first.heads && l.kv_heads == first.kv_heads && l.intermediate == first.intermediate &&
           l.kv_head_of_query == first.kv_head_of_query;
  });
}

// Tells whether all layers of a compacted folder have the same shape, as the stock class of the architecture requires. Such a folder needs
// no class of our own.
static bool has_stock_shapes(const ExportPlan& plan) {
  if (plan.container != ExportContainer::kSafetensors || plan.form != ExportForm::kCompacted || !is_uniform(plan.config.layers))
    return false;
  return static_cast<int64_t>(plan.hidden.size()) % plan.config.layers.front().heads == 0;  // transformers' rule; see fit_transformers
}

// Folds multipliers into the weights. DeciLM and llama.cpp's deci have no multipliers. Loaders of Gemma scale embeddings by the root of the
// hidden size that they find, and llama.cpp computes the scale of its scores itself.
static void fold_multipliers(ExportPlan& plan) {
  ModelConfig& c = plan.config;
  const Architecture& a = architecture_of(c);
  const bool gguf = plan.container == ExportContainer::kGguf;
  const ModelConfig plain;
  if (a.scaled_embeddings) {
    const double own = std::sqrt(static_cast<double>(c.hidden_size));
    plan.folded.embedding = c.embedding_multiplier / own;
    if (c.tied_embeddings) plan.folded.final_norm = own / c.embedding_multiplier;
    c.embedding_multiplier = own;
    if (!gguf) return;
    const double usual = gemma_score_scale(c);
    const double ratio = (c.score_scale > 0 ? c.score_scale : 1 / std::sqrt(static_cast<double>(c.head_dim))) / usual;
    (c.head_norms ? plan.folded.normed_query : plan.folded.query) = ratio;
    c.score_scale = usual;
  }
  if (!a.multipliers || !(gguf ? gguf_architecture(plan) == "deci" : plan.form == ExportForm::kBlocks)) return;
  plan.folded.embedding = c.embedding_multiplier;
  plan.folded.query = c.score_scale * std::sqrt(static_cast<double>(c.head_dim));
  plan.folded.addend = c.residual_multiplier;
  // A tied head reads the embedding, which already has its multiplier folded in.
  plan.folded.final_norm = 1 / (c.logits_divisor * (c.tied_embeddings ? c.embedding_multiplier : 1));
  c.embedding_multiplier = plain.embedding_multiplier;
  c.residual_multiplier = plain.residual_multiplier;
  c.logits_divisor = plain.logits_divisor;
  c.score_scale = plain.score_scale;
}

ExportPlan plan_export(const ModelConfig& source, const Masks& masks, const ExportRequest& request) {
  check_export(source, request.container, request.form, request.dtype);
  if (request.multiple_of < 1 || request.multiple_of > kMultipleMax) {
    throw Error(ErrorCode::kInvalidArgument, "multiple_of",
                "multiple_of must be from 1 to " + std::to_string(kMultipleMax) + ", not " + std::to_string(request.multiple_of));
  }
  ExportPlan plan;
  plan.container = request.container;
  plan.form = request.form;
  plan.config = source;
  keep_everything(plan, source);
  if (has_dense_layers(source)) {
    read_masks(plan, source, masks);
    if (request.form != ExportForm::kMasked) leave_out_closed(plan, source);
  } else if (!(masks.head.empty() && masks.intermediate.empty() && masks.hidden.empty())) {
    throw Error(ErrorCode::kNotSupported, "masks", "the model is compacted already: masks can only be folded into a dense model");
  } else if (request.form == ExportForm::kMasked) {
    plan.form = ExportForm::kCompacted;  // a compacted source is written as it is
  }
  if (request.form != ExportForm::kMasked) lay_out(plan, source, request);
  for (size_t l = 0; l < plan.layers.size(); ++l) plan.config.layers[l].intermediate = static_cast<int64_t>(plan.layers[l].units.size());
  if (has_stock_shapes(plan)) plan.form = ExportForm::kPadded;
  if (plan.form == ExportForm::kPadded || plan.form == ExportForm::kBlocks) {
    plan.config.head_count = plan.config.layers.front().heads;
    plan.config.kv_head_count = plan.config.layers.front().kv_heads;
    plan.config.intermediate_size = plan.config.layers.front().intermediate;
  }
  const auto width = static_cast<int64_t>(plan.hidden.size());
  if (width != source.hidden_size) {
    const double ratio = static_cast<double>(source.hidden_size) / static_cast<double>(width);
    plan.norm_scale = std::sqrt(ratio);
    plan.config.hidden_size = width;
    plan.config.rms_norm_eps = source.rms_norm_eps * ratio;
  }
  // In llama.cpp's files the offset is already added to the weights.
  if (request.container == ExportContainer::kGguf) plan.config.norm_offset = 0;
  fold_multipliers(plan);
  check_whole_norms(plan);
  check_olmo2(plan);
  return plan;
}

}  // namespace espalier

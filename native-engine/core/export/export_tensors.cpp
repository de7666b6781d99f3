#include "export/export_tensors.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "espalier/base/error.h"
#include "export/tensor_naming.h"
#include "files/number_formats.h"
#include "method/masks/masks.h"
#include "model/tensor_names.h"

namespace espalier {
namespace {

constexpr float kF16Limit = 65504.0f;

std::vector<int64_t> first_only() { return {0}; }

// Returns the rows or columns that these heads own.
std::vector<int64_t> head_positions(const std::vector<int64_t>& heads, int64_t head_dim) {
  std::vector<int64_t> out;
  out.reserve(heads.size() * static_cast<size_t>(head_dim));
  for (const int64_t h : heads) {
    for (int64_t i = 0; i < head_dim; ++i) out.push_back(h == kZeros ? kZeros : h * head_dim + i);
  }
  return out;
}

std::vector<float> slice(const std::vector<float>& mask, int64_t layer, int64_t width) {
  const auto begin = mask.begin() + layer * width;
  return {begin, begin + width};
}

std::vector<float> repeat_each(const std::vector<float>& values, int64_t times) {
  std::vector<float> out;
  out.reserve(values.size() * static_cast<size_t>(times));
  for (const float v : values) out.insert(out.end(), static_cast<size_t>(times), v);
  return out;
}

// Rotary embedding pairs the two halves of a head in Hugging Face's layout, and neighbours in GGUF's.
std::vector<int64_t> paired_rows(const std::vector<int64_t>& positions, int64_t head_dim) {
  std::vector<int64_t> out(positions.size());
  const int64_t half = head_dim / 2;
  for (size_t first = 0; first < positions.size(); first += static_cast<size_t>(head_dim)) {
    for (int64_t p = 0; p < 2; ++p) {
      for (int64_t j = 0; j < half; ++j) {
        out[first + static_cast<size_t>(2 * j + p)] = positions[first + static_cast<size_t>(p * half + j)];
      }
    }
  }
  return out;
}

class Builder {
 public:
  Builder(const ModelWeights& model, const TrainState* state, const ExportPlan& plan, ExportDType dtype)
      : model_(model),
        state_(state),
        plan_(plan),
        dtype_(dtype),
        gguf_(plan.container == ExportContainer::kGguf),
        names_(gguf_ ? gguf_names() : hugging_face_names(model.config())),
        source_(model.config()),
        head_dim_(source_.head_dim) {
    if (state_ != nullptr && state_->has_own_weights()) own_ = open_places(source_, plan.masks);
  }

  std::vector<ExportTensor> build() {
    ExportTensor& embedding = add(names_.embedding, model_.embedding(), all_rows(model_.embedding()), plan_.hidden);
    embedding.col_factor = plan_.masks.hidden;
    embedding.factor = plan_.folded.embedding;
    if (own_embeddings()) take_own(embedding, kEmbeddingName, nullptr, &own_->hidden);
    for (size_t l = 0; l < plan_.layers.size(); ++l) add_layer(l);
    add_norm(names_.final_norm, kFinalNormName, model_.final_norm(), plan_.final_norm_factor, plan_.folded.final_norm);
    // The head reads the residual stream after the last norm, where no mask applies any more.
    if (!plan_.config.tied_embeddings) {
      ExportTensor& head = add(names_.lm_head, model_.lm_head(), all_rows(model_.lm_head()), plan_.hidden);
      if (own_embeddings()) take_own(head, source_.tied_embeddings ? kEmbeddingName : kLmHeadName, nullptr, &own_->hidden);
    }
    return std::move(out_);
  }

 private:
  bool own_embeddings() const { return own_ && state_->widths().own_embeddings; }

  static std::vector<int64_t> all_rows(const WeightView& view) {
    std::vector<int64_t> rows;
    for (int64_t i = 0; i < view.rows; ++i) rows.push_back(i);
    return rows;
  }

  StoredType type_for(const WeightView& base, size_t row_values) const {
    switch (dtype_) {
      case ExportDType::kF32:
        return StoredType::kF32;
      case ExportDType::kBF16:
        return StoredType::kBF16;
      case ExportDType::kF16:
        return StoredType::kF16;
      case ExportDType::kQ8_0:  // llama.cpp does the same where a row is not a whole number of blocks
        return row_values % kQ8BlockValues == 0 ? StoredType::kQ8_0 : StoredType::kF16;
      case ExportDType::kAsSource:
        break;
    }
    return stored_type_of(base.dtype);
  }

  ExportTensor& add(const std::string& name, const WeightView& base, std::vector<int64_t> rows, std::vector<int64_t> cols) {
    ExportTensor& t = out_.emplace_back();
    t.name = name;
    t.base = base;
    t.rows = std::move(rows);
    t.cols = std::move(cols);
    t.type = type_for(base, t.cols.size());
    return t;
  }

  // source: the name of the norm in a state with own weights
  void add_norm(const std::string& name, const std::string& source, const WeightView& base, const std::vector<float>& unit_factor = {},
                double factor = 1.0) {
    ExportTensor& t = add_vector(name, base, plan_.hidden);
    shift_norm(t);
    t.factor = plan_.norm_scale * factor;
    t.col_factor = unit_factor;
    if (own_) take_own_norm(t, source, &own_->hidden);
    // Loaders cast all tensors to one dtype, and a greater value would become infinity. It belongs to a unit that is nearly closed.
    if (dtype_ == ExportDType::kF16 && !gguf_ && !unit_factor.empty()) t.limit = kF16Limit;
    // A rescaled norm would lose bits of the original. In f32 it keeps them at almost no cost.
    if (t.factor != 1.0 || !unit_factor.empty()) t.type = StoredType::kF32;
  }

  // The factors apply to the weights that the model computes with, which include the offset.
  void shift_norm(ExportTensor& t) const {
    t.added_before = source_.norm_offset;
    t.added_after = 0 - plan_.config.norm_offset;
  }

  // A student's own norms already include the offset.
  void take_own_norm(ExportTensor& t, const std::string& name, const std::vector<int32_t>* cols) {
    take_own(t, name, nullptr, cols);
    t.added_before = 0;
  }

  ExportTensor& add_vector(const std::string& name, const WeightView& base, const std::vector<int64_t>& positions) {
    ExportTensor& t = add(name, base, first_only(), positions);
    t.vector = true;
    if (gguf_) t.type = StoredType::kF32;  // llama.cpp computes with f32 here
    return t;
  }

  void add_projection(size_t l, Projection p, const std::vector<int64_t>& rows, const std::vector<int64_t>& cols,
                      std::vector<float> row_factor, std::vector<float> col_factor) {
    const int64_t from = plan_.layers[l].source;
    const WeightView base = model_.layer(from).proj[p];
    if (rows.empty() || cols.empty()) return;
    // A layer of a compacted source may lack a projection that is exported as zeros.
    const WeightView shape_only = base ? base : zero_base();
    ExportTensor& t = add(names_.projection(static_cast<int64_t>(l), p), shape_only, rows, cols);
    t.row_factor = std::move(row_factor);
    t.col_factor = std::move(col_factor);
    if (source_.head_norms && p <= kK) t.factor = plan_.norm_scale;
    if (p <= kK) t.factor *= normed_together(plan_.layers[l], p == kK).stretch;
    if (p == kQ) t.factor *= plan_.folded.query;
    if (p == kO || p == kDown) t.factor *= plan_.folded.addend;
    if (state_ != nullptr && base) attach_lora(t, from, p);
    if (own_) take_own(t, projection_name(from, p), own_rows(from, p), own_cols(from, p));
    if (p > kV || !source_.qkv_bias) return;
    const WeightView bias = model_.layer(from).qkv_bias[p];
    ExportTensor& b = add_vector(names_.bias(static_cast<int64_t>(l), p), bias ? bias : zero_base(), rows);
    if (p == kQ) b.factor = plan_.folded.query;
    if (own_) take_own(b, projection_bias_name(from, p), nullptr, own_rows(from, p));
  }

  // Each returns the places in the model of the rows (or columns) that a student's own projection has.
  const std::vector<int32_t>* own_rows(int64_t layer, Projection p) const {
    const OpenPlaces::Layer& open = own_->layers[static_cast<size_t>(layer)];
    return p == kQ ? &open.query : p <= kV ? &open.kv : p == kGate || p == kUp ? &open.units : &own_->hidden;
  }
  const std::vector<int32_t>* own_cols(int64_t layer, Projection p) const {
    const OpenPlaces::Layer& open = own_->layers[static_cast<size_t>(layer)];
    return p == kO ? &open.query : p == kDown ? &open.units : &own_->hidden;
  }

  // Reads the tensor from the student's own weights. rows, cols: the model's row or column for each row or column of the own matrix,
  // without padding; nullptr where they are the same. A row or column that the student lacks is closed.
  void take_own(ExportTensor& t, const std::string& name, const std::vector<int32_t>* rows, const std::vector<int32_t>* cols) {
    const TrainState::Entry* e = state_->find(name);
    const bool vector = e != nullptr && e->shape.size() == 1;
    t.base = e == nullptr ? zero_base() : WeightView{state_->view(*e).data(), DType::kF32, vector ? 1 : e->shape[0], e->shape.back()};
    to_own_places(rows, t.base.rows, t.rows, t.row_factor);
    to_own_places(cols, t.base.cols, t.cols, t.col_factor);
  }

  static void to_own_places(const std::vector<int32_t>* list, int64_t count, std::vector<int64_t>& positions, std::vector<float>& factor) {
    if (list == nullptr) return;
    std::map<int64_t, int64_t> own;
    std::vector<float> own_factor(factor.empty() ? 0 : static_cast<size_t>(count), 0.0f);
    for (int64_t i = 0; i < std::min(count, static_cast<int64_t>(list->size())); ++i) {
      const int32_t place = (*list)[static_cast<size_t>(i)];
      own[place] = i;
      if (!factor.empty()) own_factor[static_cast<size_t>(i)] = factor[static_cast<size_t>(place)];
    }
    for (int64_t& position : positions) {
      const auto found = own.find(position);
      position = found == own.end() ? kZeros : found->second;
    }
    factor = std::move(own_factor);
  }

  // Returns a view that stands for a tensor of zeros.
  WeightView zero_base() const { return {nullptr, model_.embedding().dtype, 0, 0}; }

  void attach_lora(ExportTensor& t, int64_t l, Projection p) {
    const TrainState::Entry* a = state_->lora_a(l, p);
    const TrainState::Entry* b = state_->lora_b(l, p);
    if (a == nullptr || b == nullptr) return;
    const int64_t rank = state_->lora().rank;
    if (a->shape != std::vector<int64_t>{rank, t.base.cols} || b->shape != std::vector<int64_t>{t.base.rows, rank}) {
      throw Error(ErrorCode::kInvalidArgument, "state:" + a->name, "the state's LoRA for " + t.name + " does not fit the model");
    }
    t.lora_a = state_->view(*a);
    t.lora_b = state_->view(*b);
    t.lora_rank = rank;
    t.lora_scale = static_cast<float>(state_->lora().scale());
  }

  // A smaller hidden size comes with another epsilon, which stock loaders use for these norms too. Queries and keys that are longer by the
  // root of the change are normed to the same result.
  void add_head_norms(size_t l) {
    if (!source_.head_norms || plan_.layers[l].heads.empty()) return;
    for (const bool key : {false, true}) {
      const WeightView base = model_.layer(plan_.layers[l].source).head_norm[key];
      const std::vector<int64_t>& heads = key ? plan_.layers[l].kv_heads : plan_.layers[l].heads;
      const std::vector<int64_t> positions = source_.whole_norms ? head_positions(heads, head_dim_) : head_positions({0}, head_dim_);
      ExportTensor& norm = add_vector(names_.head_norm(static_cast<int64_t>(l), key), base ? base : zero_base(), positions);
      shift_norm(norm);
      norm.factor = (key ? 1 : plan_.folded.normed_query) / normed_together(plan_.layers[l], key).stretch;
      const int64_t from = plan_.layers[l].source;
      if (own_) take_own_norm(norm, head_norm_name(from, key), source_.whole_norms ? own_rows(from, key ? kK : kQ) : nullptr);
    }
  }

  // Heads that are normed together, as the export holds them. Closed heads and zeros add nothing to the norm's sum, yet its mean counts all
  // heads of the export. Longer projections make up for this, and the norm's weights take their length back.
  struct NormedTogether {
    double stretch = 1;
    std::vector<float> open;  // 0 or 1 for each row of the source; empty where all are open
  };
  NormedTogether normed_together(const KeptLayer& kept, bool key) const {
    if (!source_.whole_norms) return {};
    const LayerShape& shape = source_.layers[static_cast<size_t>(kept.source)];
    const bool masked = !plan_.masks.head.empty();
    std::vector<float> open(static_cast<size_t>(key ? shape.kv_heads : shape.heads), masked ? 0.0f : 1.0f);
    for (int64_t h = 0; masked && h < shape.heads; ++h) {
      const bool is_open = plan_.masks.head[static_cast<size_t>(kept.source * source_.head_count + h)] != 0.0f;
      if (is_open) open[static_cast<size_t>(key ? shape.kv_head_of_query[static_cast<size_t>(h)] : h)] = 1.0f;
    }
    const std::vector<int64_t>& places = key ? kept.kv_heads : kept.heads;
    const auto count =
        std::count_if(places.begin(), places.end(), [&](int64_t p) { return p != kZeros && open[static_cast<size_t>(p)] == 1.0f; });
    return {count > 0 ? std::sqrt(static_cast<double>(places.size()) / static_cast<double>(count)) : 1.0, repeat_each(open, head_dim_)};
  }

  void add_layer(size_t l) {
    const KeptLayer& kept = plan_.layers[l];
    const int64_t from = kept.source;
    const auto number = static_cast<int64_t>(l);
    const std::vector<int64_t> query = head_positions(kept.heads, head_dim_), kv = head_positions(kept.kv_heads, head_dim_);
    const bool masked = !plan_.masks.head.empty();
    const std::vector<float> none;
    const std::vector<float> z_head = masked ? repeat_each(slice(plan_.masks.head, from, source_.head_count), head_dim_) : none;
    const std::vector<float> z_unit = masked ? slice(plan_.masks.intermediate, from, source_.intermediate_size) : none;
    const std::vector<float>& z_hidden = plan_.masks.hidden;
    // Only our own loaders know a norm without a block behind it.
    const bool all_norms = plan_.container == ExportContainer::kSafetensors && plan_.form == ExportForm::kCompacted;

    const bool heads = all_norms || !query.empty(), units = all_norms || !kept.units.empty();
    const LayerWeights& source = model_.layer(from);
    if (heads && source_.pre_norms) add_norm(names_.attention_norm(number), input_norm_name(from), source.attention_norm);
    const bool paired = gguf_ && !gguf_pairs_halves(gguf_architecture(plan_));
    add_projection(l, kQ, paired ? paired_rows(query, head_dim_) : query, plan_.hidden, normed_together(kept, false).open, none);
    add_projection(l, kK, paired ? paired_rows(kv, head_dim_) : kv, plan_.hidden, normed_together(kept, true).open, none);
    add_head_norms(l);
    add_projection(l, kV, kv, plan_.hidden, none, none);
    add_projection(l, kO, plan_.hidden, query, z_hidden, z_head);
    if (heads && source_.post_norms)
      add_norm(names_.post_attention_norm(number), post_attention_norm_name(from), source.post_attention_norm);
    if (units && source_.pre_norms) add_norm(names_.mlp_norm(number), mlp_norm_name(source_, from), source.mlp_norm);
    // The unit's mask acts before SiLU and on the up side: SiLU(z * gate) * (z * up).
    add_projection(l, kGate, kept.units, plan_.hidden, z_unit, none);
    add_projection(l, kUp, kept.units, plan_.hidden, z_unit, none);
    add_projection(l, kDown, plan_.hidden, kept.units, z_hidden, none);
    if (units && source_.post_norms) add_norm(names_.post_mlp_norm(number), post_mlp_norm_name(from), source.post_mlp_norm);
  }

  const ModelWeights& model_;
  const TrainState* state_;
  const ExportPlan& plan_;
  ExportDType dtype_;
  bool gguf_;
  TensorNames names_;
  const ModelConfig& source_;
  int64_t head_dim_;
  std::optional<OpenPlaces> own_;  // for a student with own weights
  std::vector<ExportTensor> out_;
};

}  // namespace

std::vector<ExportTensor> export_tensors(const ModelWeights& model, const TrainState* state, const ExportPlan& plan, ExportDType dtype) {
  return Builder(model, state, plan, dtype).build();
}

}  // namespace espalier

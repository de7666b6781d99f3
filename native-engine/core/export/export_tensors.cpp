#include "export/export_tensors.h"

#include <algorithm>

#include "espalier/error.h"
#include "files/number_formats.h"
#include "model/tensor_names.h"

namespace espalier {
namespace {

constexpr float kF16Limit = 65504.0f;

std::vector<int64_t> first_only() { return {0}; }

// Head indices to the rows or columns that they own.
std::vector<int64_t> head_positions(const std::vector<int64_t>& heads, int64_t head_dim) {
  std::vector<int64_t> out;
  out.reserve(heads.size() * static_cast<size_t>(head_dim));
  for (const int64_t h : heads) {
    for (int64_t i = 0; i < head_dim; ++i) out.push_back(h * head_dim + i);
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

void decode_row(const WeightView& view, int64_t row, std::vector<float>& out) {
  out.resize(static_cast<size_t>(view.cols));
  const int64_t start = row * view.cols;
  for (int64_t i = 0; i < view.cols; ++i) out[static_cast<size_t>(i)] = decode(view.data, view.dtype, start + i);
}

class Builder {
 public:
  Builder(const ModelWeights& model, const TrainState* state, const ExportPlan& plan, ExportDType dtype)
      : model_(model), state_(state), plan_(plan), dtype_(dtype), source_(model.config()), head_dim_(source_.head_dim) {}

  std::vector<ExportTensor> build() {
    ExportTensor& embedding = add(kEmbeddingName, model_.embedding(), all_rows(model_.embedding()), plan_.hidden);
    embedding.col_factor = plan_.masks.hidden;
    for (int64_t l = 0; l < source_.layer_count; ++l) add_layer(l);
    add_norm(kFinalNormName, model_.final_norm(), plan_.final_norm_factor);
    // The head reads the residual stream behind the last norm, where no mask stands any more.
    if (!plan_.config.tied_embeddings) add(kLmHeadName, model_.lm_head(), all_rows(model_.lm_head()), plan_.hidden);
    return std::move(out_);
  }

 private:
  static std::vector<int64_t> all_rows(const WeightView& view) {
    std::vector<int64_t> rows;
    for (int64_t i = 0; i < view.rows; ++i) rows.push_back(i);
    return rows;
  }

  ExportTensor& add(const std::string& name, const WeightView& base, std::vector<int64_t> rows, std::vector<int64_t> cols) {
    ExportTensor& t = out_.emplace_back();
    t.name = name;
    t.base = base;
    t.rows = std::move(rows);
    t.cols = std::move(cols);
    t.dtype = dtype_ == ExportDType::kF32    ? DType::kF32
              : dtype_ == ExportDType::kBF16 ? DType::kBF16
              : dtype_ == ExportDType::kF16  ? DType::kF16
                                             : base.dtype;
    return t;
  }

  void add_norm(const std::string& name, const WeightView& base, const std::vector<float>& unit_factor = {}) {
    ExportTensor& t = add(name, base, first_only(), plan_.hidden);
    t.vector = true;
    t.factor = plan_.norm_scale;
    t.col_factor = unit_factor;
    // Loaders make one dtype of all tensors. What is beyond it would become infinity, and belongs to a unit that is all but closed.
    if (t.dtype == DType::kF16 && !unit_factor.empty()) t.limit = kF16Limit;
    // A rescaled norm would lose bits that the original had; in f32 it costs next to nothing.
    if (plan_.norm_scale != 1.0 || !unit_factor.empty()) t.dtype = DType::kF32;
  }

  void add_projection(int64_t l, Projection p, const std::vector<int64_t>& rows, const std::vector<int64_t>& cols,
                      std::vector<float> row_factor, std::vector<float> col_factor) {
    const WeightView base = model_.layer(l).proj[p];
    if (rows.empty() || cols.empty() || !base) return;
    ExportTensor& t = add(projection_name(l, p), base, rows, cols);
    t.row_factor = std::move(row_factor);
    t.col_factor = std::move(col_factor);
    if (state_ != nullptr) attach_lora(t, l, p);
    if (p <= kV && model_.layer(l).qkv_bias[p]) {
      add(projection_bias_name(l, p), model_.layer(l).qkv_bias[p], first_only(), rows).vector = true;
    }
  }

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

  void add_layer(int64_t l) {
    const KeptLayer& kept = plan_.layers[static_cast<size_t>(l)];
    const std::vector<int64_t> query = head_positions(kept.heads, head_dim_), kv = head_positions(kept.kv_heads, head_dim_);
    const bool dense = !plan_.masks.head.empty();
    const std::vector<float> none;
    const std::vector<float> z_head = dense ? repeat_each(slice(plan_.masks.head, l, source_.head_count), head_dim_) : none;
    const std::vector<float> z_unit = dense ? slice(plan_.masks.intermediate, l, source_.intermediate_size) : none;
    const std::vector<float>& z_hidden = plan_.masks.hidden;

    add_norm(input_norm_name(l), model_.layer(l).input_norm);
    add_projection(l, kQ, query, plan_.hidden, none, none);
    add_projection(l, kK, kv, plan_.hidden, none, none);
    add_projection(l, kV, kv, plan_.hidden, none, none);
    add_projection(l, kO, plan_.hidden, query, z_hidden, z_head);
    add_norm(post_attention_norm_name(l), model_.layer(l).post_attention_norm);
    // The unit's mask stands before SiLU and on the up side: SiLU(z * gate) * (z * up).
    add_projection(l, kGate, kept.units, plan_.hidden, z_unit, none);
    add_projection(l, kUp, kept.units, plan_.hidden, z_unit, none);
    add_projection(l, kDown, plan_.hidden, kept.units, z_hidden, none);
  }

  const ModelWeights& model_;
  const TrainState* state_;
  const ExportPlan& plan_;
  ExportDType dtype_;
  const ModelConfig& source_;
  int64_t head_dim_;
  std::vector<ExportTensor> out_;
};

}  // namespace

std::vector<int64_t> ExportTensor::shape() const {
  const auto width = static_cast<int64_t>(cols.size());
  return vector ? std::vector<int64_t>{width} : std::vector<int64_t>{static_cast<int64_t>(rows.size()), width};
}

void ExportTensor::read_row(int64_t index, std::vector<float>& scratch, std::span<float> out) const {
  const int64_t row = rows[static_cast<size_t>(index)];
  decode_row(base, row, scratch);
  for (int64_t k = 0; k < lora_rank; ++k) {
    const float b = lora_scale * lora_b[static_cast<size_t>(row * lora_rank + k)];
    const float* a = lora_a.data() + k * base.cols;
    for (int64_t i = 0; i < base.cols; ++i) scratch[static_cast<size_t>(i)] += b * a[i];
  }
  // One factor for the row, in double so that folding rounds once.
  const double row_scale = factor * (row_factor.empty() ? 1.0 : static_cast<double>(row_factor[static_cast<size_t>(row)]));
  for (size_t i = 0; i < cols.size(); ++i) {
    const auto col = static_cast<size_t>(cols[i]);
    const double scale = col_factor.empty() ? row_scale : row_scale * static_cast<double>(col_factor[col]);
    out[i] = std::clamp(static_cast<float>(static_cast<double>(scratch[col]) * scale), -limit, limit);
  }
}

std::vector<ExportTensor> export_tensors(const ModelWeights& model, const TrainState* state, const ExportPlan& plan, ExportDType dtype) {
  return Builder(model, state, plan, dtype).build();
}

}  // namespace espalier

#include "export/compacted_model.h"

#include <map>

#include "export/export_tensors.h"
#include "model/tensor_names.h"
#include "model/weight_table.h"

namespace espalier {
namespace {

// Rows have whole vectors, which every kernel can read.
constexpr int64_t kMultipleOf = 16;

class CompactedModel final : public WeightTable {
 public:
  CompactedModel(const ModelConfig& config, const std::vector<ExportTensor>& tensors) : WeightTable(config) {
    for (const ExportTensor& tensor : tensors) views_[tensor.name] = store(tensor);
    embedding_ = views_.at(kEmbeddingName);
    final_norm_ = views_.at(kFinalNormName);
    lm_head_ = config.tied_embeddings ? embedding_ : views_.at(kLmHeadName);
    for (int64_t l = 0; l < config.layer_count; ++l) {
      LayerWeights layer;
      layer.attention_norm = find(input_norm_name(l));
      layer.mlp_norm = find(mlp_norm_name(config, l));
      if (config.post_norms) {
        layer.post_attention_norm = find(post_attention_norm_name(l));
        layer.post_mlp_norm = find(post_mlp_norm_name(l));
      }
      for (int p = 0; p < kProjectionCount; ++p) {
        layer.proj[static_cast<size_t>(p)] = find(projection_name(l, p));
        if (p <= kV) layer.qkv_bias[static_cast<size_t>(p)] = find(projection_bias_name(l, p));
      }
      for (const bool key : {false, true}) layer.head_norm[key] = find(head_norm_name(l, key));
      layers_.push_back(layer);
    }
  }

 private:
  WeightView find(const std::string& name) const {
    const auto at = views_.find(name);
    return at == views_.end() ? WeightView{} : at->second;
  }

  WeightView store(const ExportTensor& tensor) {
    const DType dtype = tensor.type == StoredType::kF32 ? DType::kF32 : DType::kBF16;
    const size_t row_bytes = stored_row_bytes(tensor.type, tensor.cols.size());
    storage_.push_back(std::make_unique_for_overwrite<uint8_t[]>(row_bytes * tensor.rows.size()));
    uint8_t* data = storage_.back().get();
    std::vector<float> row(tensor.cols.size()), scratch;
    for (size_t r = 0; r < tensor.rows.size(); ++r) {
      tensor.read_row(static_cast<int64_t>(r), scratch, row);
      encode_row(row, tensor.type, data + r * row_bytes);
    }
    return {data, dtype, static_cast<int64_t>(tensor.rows.size()), static_cast<int64_t>(tensor.cols.size())};
  }

  std::vector<std::unique_ptr<uint8_t[]>> storage_;
  std::map<std::string, WeightView> views_;
};

ExportDType export_dtype(DType dtype) { return dtype == DType::kF32 ? ExportDType::kF32 : ExportDType::kBF16; }

}  // namespace

std::shared_ptr<const ModelWeights> compacted_model(const ModelWeights& model, const TrainState* state, const Masks& masks, DType dtype) {
  ExportRequest request;
  request.form = ExportForm::kCompacted;
  request.dtype = export_dtype(dtype);
  request.multiple_of = kMultipleOf;
  const ExportPlan plan = plan_export(model.config(), masks, request);
  return std::make_shared<CompactedModel>(plan.config, export_tensors(model, state, plan, request.dtype));
}

std::shared_ptr<const ModelWeights> stored_as(std::shared_ptr<const ModelWeights> model, DType dtype) {
  if (model->lm_head().dtype == dtype) return model;
  ExportRequest request;
  request.dtype = export_dtype(dtype);
  const ExportPlan plan = plan_export(model->config(), {}, request);
  return std::make_shared<CompactedModel>(plan.config, export_tensors(*model, nullptr, plan, request.dtype));
}

}  // namespace espalier

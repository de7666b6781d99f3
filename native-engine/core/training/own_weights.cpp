#include "training/own_weights.h"

#include <algorithm>

#include "files/number_formats.h"
#include "method/masks/masks.h"
#include "model/tensor_names.h"
#include "on_device/role.h"

namespace espalier {

namespace {

// The rows and columns of the model's matrix that the student has; -1 for padding.
struct MatrixPlaces {
  const std::vector<int32_t>& rows;
  const std::vector<int32_t>& cols;
};

MatrixPlaces places_of(const Role& role, const RoleLayer& layer, int projection) {
  switch (projection) {
    case kQ:
      return {layer.q_rows, role.hidden_index};
    case kK:
    case kV:
      return {layer.kv_rows, role.hidden_index};
    case kO:
      return {role.hidden_index, layer.q_rows};
    case kDown:
      return {role.hidden_index, layer.unit_index};
    default:
      return {layer.unit_index, role.hidden_index};
  }
}

class Folding {
 public:
  Folding(const ModelWeights& model, const TrainState& from, bool own_embeddings)
      : model_(model), from_(from), role_(role_of_state(model, from)), out_(layout_of(model.config(), role_, from, own_embeddings)) {}

  TrainState run() {
    static_cast<StateScalars&>(out_) = from_;
    copy_masks();
    std::vector<int32_t> tokens;
    for (int64_t v = 0; v < model_.config().vocab_size; v++) tokens.push_back(static_cast<int32_t>(v));
    fill(kEmbeddingName, model_.embedding(), {tokens, role_.hidden_index});
    if (!model_.config().tied_embeddings) fill(kLmHeadName, model_.lm_head(), {tokens, role_.hidden_index});
    for (int64_t l = 0; l < model_.config().layer_count; l++) fill_layer(l);
    put(kFinalNormName, final_norm(), 0);
    return std::move(out_);
  }

 private:
  static StateLayout layout_of(const ModelConfig& config, const Role& role, const TrainState& from, bool own_embeddings) {
    OpenWidths widths = open_widths(config, role.z);
    widths.own_embeddings = own_embeddings;
    return StateLayout(config, widths, from.gates());
  }

  void copy_masks() {
    const auto from = from_.lora_size(), to = out_.lora_size(), count = from_.mask_size();
    std::copy_n(from_.params().begin() + from, count, out_.params().begin() + to);
    std::copy_n(from_.adam_m().begin() + from, count, out_.adam_m().begin() + to);
    std::copy_n(from_.adam_v().begin() + from, count, out_.adam_v().begin() + to);
  }

  // Returns the final norm without the divisor of the logits that the role includes.
  std::vector<float> final_norm() const {
    const WeightView view = model_.final_norm();
    std::vector<float> out;
    for (const int32_t place : role_.hidden_index) out.push_back(place < 0 ? 0.0f : norm_weight(model_.config(), view, place));
    return out;
  }

  void fill_layer(int64_t l) {
    const RoleLayer& r = role_.layers[l];
    for (int p = 0; p < kProjectionCount; p++)
      fill(projection_name(l, p), model_.layer(l).proj[static_cast<size_t>(p)], places_of(role_, r, p), from_.lora_a(l, Projection(p)),
           from_.lora_b(l, Projection(p)));
    put(input_norm_name(l), r.attention_norm.weight, 0);
    put(mlp_norm_name(model_.config(), l), r.mlp_norm.weight, 0);
    if (model_.config().post_norms) {
      put(post_attention_norm_name(l), r.post_attention_norm.weight, 0);
      put(post_mlp_norm_name(l), r.post_mlp_norm.weight, 0);
    }
    put(projection_bias_name(l, kQ), r.qkv_bias, 0);
    put(projection_bias_name(l, kK), r.qkv_bias, r.head_width);
    put(projection_bias_name(l, kV), r.qkv_bias, r.head_width + r.kv_width);
    put(head_norm_name(l, false), r.query_norm, 0);
    put(head_norm_name(l, true), r.key_norm, 0);
  }

  // Writes the entry of this name, if the student has one, from a list of the role, beginning at `first`.
  void put(const std::string& name, const std::vector<float>& values, int64_t first) {
    const StateLayout::Entry* e = out_.find(name);
    if (e) std::copy_n(values.begin() + first, e->size, out_.view(*e).begin());
  }

  void fill(const std::string& name, const WeightView& base, const MatrixPlaces& places, const StateLayout::Entry* a = nullptr,
            const StateLayout::Entry* b = nullptr) {
    const StateLayout::Entry* e = out_.find(name);
    if (!e) return;
    const std::span<float> made = out_.view(*e);
    const int64_t rank = from_.lora().rank, width = e->shape[1];
    const auto scale = static_cast<float>(from_.lora().scale());
    std::vector<float> row(static_cast<size_t>(base.cols));
    for (int64_t i = 0; i < e->shape[0]; i++) {
      const int64_t at = places.rows[i];
      for (int64_t j = 0; j < base.cols; j++) row[j] = decode(base.data, base.dtype, at * base.cols + j);
      for (int64_t k = 0; a && b && k < rank; k++) {
        const float factor = scale * from_.view(*b)[at * rank + k];
        const float* values = from_.view(*a).data() + k * base.cols;
        for (int64_t j = 0; j < base.cols; j++) row[j] += factor * values[j];
      }
      for (int64_t j = 0; j < width; j++) made[i * width + j] = places.cols[j] < 0 ? 0.0f : row[places.cols[j]];
    }
  }

  const ModelWeights& model_;
  const TrainState& from_;
  const Role role_;
  TrainState out_;
};

}  // namespace

TrainState with_own_weights(const ModelWeights& model, const TrainState& state, bool own_embeddings) {
  return Folding(model, state, own_embeddings).run();
}

}  // namespace espalier

#include "on_device/role.h"

#include <algorithm>
#include <cstring>

#include "files/number_formats.h"
#include "method/masks/masks.h"
#include "model/tensor_names.h"

namespace espalier {

namespace {

std::vector<float> read_vector(const WeightView& w) {
  std::vector<float> v(w.cols);
  for (int64_t j = 0; j < w.cols; j++) v[j] = decode(w.data, w.dtype, j);
  return v;
}

void pad(std::vector<int32_t>& index) { index.resize(padded_width(static_cast<int64_t>(index.size())), -1); }
void pad(std::vector<float>& scale) { scale.resize(padded_width(static_cast<int64_t>(scale.size())), 0.0f); }
// Makes the padded lists of the open ones among `all`.
void pad(std::vector<int32_t>& index, std::vector<float>& scale, int64_t all, int64_t multiple) {
  const int64_t width = std::min(padded_width(static_cast<int64_t>(index.size()), multiple), padded_width(all));
  index.resize(width, -1);
  scale.resize(width, 0.0f);
}

bool all_ones(const std::vector<float>& scale) {
  return std::all_of(scale.begin(), scale.end(), [](float z) { return z == 1.0f; });
}

void pad_or_drop(std::vector<float>& scale) { all_ones(scale) ? scale.clear() : pad(scale); }

std::vector<float> pick(const std::vector<float>& from, const std::vector<int32_t>& index) {
  std::vector<float> v(index.size(), 0.0f);
  for (size_t j = 0; j < index.size(); j++)
    if (index[j] >= 0) v[j] = from[index[j]];
  return v;
}

// Returns a norm's weights for the open units, and their inverses, by which the backward pass recovers x from the norm's output. A weight
// of 0 becomes 1e-30, which adds nothing to the products that follow and can still be inverted.
OpenNorm open_norm(std::vector<float> weights, const std::vector<int32_t>& index) {
  OpenNorm out{std::move(weights), {}};
  out.inverse.assign(out.weight.size(), 0.0f);
  for (size_t j = 0; j < out.weight.size(); j++) {
    if (index[j] < 0) continue;
    if (out.weight[j] == 0.0f) out.weight[j] = 1e-30f;
    out.inverse[j] = 1.0f / out.weight[j];
  }
  return out;
}

std::vector<float> read_norm(const ModelConfig& config, const WeightView& w) {
  std::vector<float> v(w.cols);
  for (int64_t j = 0; j < w.cols; j++) v[j] = norm_weight(config, w, j);
  return v;
}

OpenNorm open_norm(const ModelConfig& config, const WeightView& w, const std::vector<int32_t>& index) {
  return w ? open_norm(pick(read_norm(config, w), index), index) : OpenNorm{};
}

void append_rows(std::vector<int32_t>& rows, int64_t head, int64_t head_dim) {
  for (int64_t c = 0; c < head_dim; c++) rows.push_back(static_cast<int32_t>(head * head_dim + c));
}

std::vector<float> multiplied(std::vector<float> scale, double by) {
  if (by == 1) return {};
  for (float& z : scale) z = static_cast<float>(z * by);
  return scale;
}

// Logits are linear in the final norm's weights, so these weights include the divisor of the logits.
void set_final_norm(Role& role, std::vector<float> weights) {
  for (size_t j = 0; j < role.final_norm_scale.size(); j++) weights[j] *= role.final_norm_scale[j];
  role.final_norm = std::move(weights);
}

// Lists the open heads, the key/value heads that they read, and their rows and columns.
void open_heads(const ModelConfig& config, const LayerShape& shape, const float* z, bool exact_sparse, RoleLayer& r) {
  std::vector<int32_t> kept(shape.kv_heads, -1);
  for (int64_t h = 0; h < shape.heads; h++) {
    // A closed head must not take part in a norm over all heads.
    if ((exact_sparse || config.whole_norms) && z[h] == 0.0f) continue;
    int32_t& kv = kept[shape.kv_head_of_query[h]];
    if (kv < 0) {
      kv = static_cast<int32_t>(r.kv_heads++);
      append_rows(r.kv_rows, shape.kv_head_of_query[h], config.head_dim);
    }
    r.head_index.push_back(static_cast<int32_t>(h));
    r.kv_of_head.push_back(kv);
    append_rows(r.q_rows, h, config.head_dim);
    r.head_scale.insert(r.head_scale.end(), config.head_dim, z[h]);
  }
  r.heads = static_cast<int64_t>(r.head_index.size());
  r.heads_all = r.heads == shape.heads && r.heads * config.head_dim % kWidthMultiple == 0;
  pad(r.q_rows);
  pad(r.kv_rows);
  pad_or_drop(r.head_scale);
  r.head_width = static_cast<int64_t>(r.q_rows.size());
  r.kv_width = static_cast<int64_t>(r.kv_rows.size());
  r.kv_all = r.kv_heads == shape.kv_heads && r.kv_heads * config.head_dim == r.kv_width;
}

void open_units(const LayerShape& shape, const float* z, bool exact_sparse, int64_t width_multiple, RoleLayer& r) {
  for (int64_t i = 0; i < shape.intermediate; i++) {
    if (exact_sparse && z[i] == 0.0f) continue;
    r.unit_index.push_back(static_cast<int32_t>(i));
    r.unit_scale.push_back(z[i]);
  }
  r.units = static_cast<int64_t>(r.unit_index.size());
  r.units_all = r.units == shape.intermediate && r.units % kWidthMultiple == 0;
  const bool ones = all_ones(r.unit_scale);
  pad(r.unit_index, r.unit_scale, shape.intermediate, width_multiple);
  if (ones) r.unit_scale.clear();
  r.unit_width = static_cast<int64_t>(r.unit_index.size());
}

void open_bias(const LayerWeights& weights, RoleLayer& r) {
  if (!weights.qkv_bias[0]) return;
  for (int part = 0; part < 3; part++) {
    const std::vector<float> bias = pick(read_vector(weights.qkv_bias[part]), part == 0 ? r.q_rows : r.kv_rows);
    r.qkv_bias.insert(r.qkv_bias.end(), bias.begin(), bias.end());
  }
}

}  // namespace

float norm_weight(const ModelConfig& config, const WeightView& stored, int64_t index) {
  return static_cast<float>(decode(stored.data, stored.dtype, index) + config.norm_offset);
}

Role make_role(const ModelWeights& model, const Masks& z, bool exact_sparse, int64_t width_multiple) {
  const ModelConfig& config = model.config();
  Role role;
  role.z = z;
  for (int64_t j = 0; j < config.hidden_size; j++) {
    if (exact_sparse && z.hidden[j] == 0.0f) continue;
    role.hidden_index.push_back(static_cast<int32_t>(j));
    role.hidden_scale.push_back(z.hidden[j]);
  }
  role.hidden_open = static_cast<int64_t>(role.hidden_index.size());
  // A model without an open hidden unit still has a residual stream of zeros.
  if (role.hidden_open == 0) role.hidden_index.push_back(-1), role.hidden_scale.push_back(0.0f);
  role.hidden_ones = all_ones(role.hidden_scale);
  pad(role.hidden_index, role.hidden_scale, config.hidden_size, width_multiple);
  role.hidden_width = static_cast<int64_t>(role.hidden_index.size());
  role.hidden_all = role.hidden_open == config.hidden_size && role.hidden_width == config.hidden_size;
  role.embedding_scale = multiplied(role.hidden_scale, config.embedding_multiplier);
  role.addend_scale = multiplied(role.hidden_scale, config.residual_multiplier);
  if (config.logits_divisor != 1) role.final_norm_scale.assign(role.hidden_index.size(), static_cast<float>(1 / config.logits_divisor));
  set_final_norm(role, pick(read_norm(config, model.final_norm()), role.hidden_index));
  int64_t head = 0, unit = 0;
  for (int64_t l = 0; l < config.layer_count; l++) {
    const LayerShape& shape = config.layers[l];
    RoleLayer r;
    open_heads(config, shape, z.head.data() + head, exact_sparse, r);
    open_units(shape, z.intermediate.data() + unit, exact_sparse, width_multiple, r);
    open_bias(model.layer(l), r);
    const LayerWeights& w = model.layer(l);
    if (r.heads > 0 && w.head_norm[0]) {
      r.query_norm = read_norm(config, w.head_norm[0]);
      r.key_norm = read_norm(config, w.head_norm[1]);
      if (config.whole_norms) r.query_norm = pick(r.query_norm, r.q_rows), r.key_norm = pick(r.key_norm, r.kv_rows);
    }
    if (r.heads > 0) {
      r.attention_norm = open_norm(config, w.attention_norm, role.hidden_index);
      r.post_attention_norm = open_norm(config, w.post_attention_norm, role.hidden_index);
    }
    if (r.units > 0) {
      r.mlp_norm = open_norm(config, w.mlp_norm, role.hidden_index);
      r.post_mlp_norm = open_norm(config, w.post_mlp_norm, role.hidden_index);
    }
    role.layers.push_back(std::move(r));
    head += shape.heads;
    unit += shape.intermediate;
  }
  return role;
}

void scale_when_read(const ModelConfig& config, Role& role) {
  if (config.post_norms || !config.pre_norms) return;
  role.scaled_when_read = true;
  const std::vector<float> ones(role.hidden_scale.size(), 1.0f);
  role.embedding_scale = multiplied(ones, config.embedding_multiplier / config.residual_multiplier);
}

void take_own_vectors(const ModelConfig& config, const StateLayout& layout, std::span<const float> vectors, Role& role) {
  const auto values = [&](const std::string& name) {
    const StateLayout::Entry* e = layout.find(name);
    if (!e) return std::vector<float>{};
    const auto from = vectors.begin() + (e->offset - layout.vectors_begin());
    return std::vector<float>(from, from + e->size);
  };
  set_final_norm(role, values(kFinalNormName));
  for (size_t l = 0; l < role.layers.size(); l++) {
    RoleLayer& r = role.layers[l];
    const auto layer = static_cast<int64_t>(l);
    r.attention_norm = open_norm(values(input_norm_name(layer)), role.hidden_index);
    r.mlp_norm = open_norm(values(mlp_norm_name(config, layer)), role.hidden_index);
    if (config.post_norms) {
      r.post_attention_norm = open_norm(values(post_attention_norm_name(layer)), role.hidden_index);
      r.post_mlp_norm = open_norm(values(post_mlp_norm_name(layer)), role.hidden_index);
    }
    r.qkv_bias.clear();
    for (int p = kQ; p <= kV; p++) {
      std::vector<float> bias = values(projection_bias_name(layer, p));
      if (bias.empty()) continue;
      pad(bias);
      r.qkv_bias.insert(r.qkv_bias.end(), bias.begin(), bias.end());
    }
    if (!r.query_norm.empty()) r.query_norm = values(head_norm_name(layer, false)), r.key_norm = values(head_norm_name(layer, true));
  }
}

Role role_of_state(const ModelWeights& model, const TrainState& state) {
  Role role = make_role(model, deterministic_masks(model.config(), state), true);
  if (state.has_own_weights()) {
    const auto begin = static_cast<size_t>(state.vectors_begin()), end = static_cast<size_t>(state.lora_size());
    take_own_vectors(model.config(), state, state.params().subspan(begin, end - begin), role);
  }
  return role;
}

Role make_intact_role(const ModelWeights& model) {
  const ModelConfig& config = model.config();
  int64_t heads = 0, units = 0;
  for (const LayerShape& s : config.layers) {
    heads += s.heads;
    units += s.intermediate;
  }
  const Masks ones{std::vector<float>(heads, 1.0f), std::vector<float>(units, 1.0f), std::vector<float>(config.hidden_size, 1.0f)};
  Role role = make_role(model, ones, true);
  // Everything is open, so no list is needed: the padding lies beyond the stored matrix, where ops read zeros.
  role.hidden_all = true;
  for (RoleLayer& r : role.layers) r.heads_all = r.kv_all = r.units_all = true;
  return role;
}

std::vector<int32_t> match_hidden(const Role& student, const Role& teacher) {
  if (student.hidden_index == teacher.hidden_index) return {};
  std::vector<int32_t> match(student.hidden_index.size(), -1);
  size_t t = 0;
  for (size_t s = 0; s < match.size(); s++) {
    const int32_t unit = student.hidden_index[s];
    if (unit < 0) break;
    while (t < teacher.hidden_index.size() && teacher.hidden_index[t] >= 0 && teacher.hidden_index[t] < unit) t++;
    if (t < teacher.hidden_index.size() && teacher.hidden_index[t] == unit) match[s] = static_cast<int32_t>(t);
  }
  return match;
}

}  // namespace espalier

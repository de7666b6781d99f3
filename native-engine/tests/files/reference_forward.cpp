#include "reference_forward.h"

#include <algorithm>
#include <cmath>

#include "files/number_formats.h"

namespace espalier::test {

// Returns cap * tanh(x / cap); 0 stands for no cap.
static double capped(double x, double cap) { return cap > 0 ? cap * std::tanh(x / cap) : x; }

Rows ReferenceForward::logits(std::span<const uint32_t> ids) const {
  std::vector<Rows> unused;
  return logits(ids, unused);
}

Rows ReferenceForward::logits(std::span<const uint32_t> ids, std::vector<Rows>& layers) const {
  Rows x;
  for (const uint32_t id : ids) x.push_back(embedded(id));
  for (int64_t l = 0; l < config_.layer_count; ++l) {
    const LayerWeights& layer = model_.layer(l);  // a layer that has no norm before a block has no such block
    if (layer.attention_norm || layer.post_attention_norm)
      add(x, behind(attention(l, norm(x, layer.attention_norm)), layer.post_attention_norm));
    if (layer.mlp_norm || layer.post_mlp_norm) add(x, behind(mlp(l, norm(x, layer.mlp_norm)), layer.post_mlp_norm));
    layers.push_back(x);
  }
  Rows out = product(norm(x, model_.final_norm()), decoded(model_.lm_head()), model_.lm_head().rows);
  for (auto& values : out) {
    for (double& v : values) v = capped(v / config_.logits_divisor, config_.logits_cap);
  }
  return out;
}

std::vector<double> ReferenceForward::embedded(uint32_t id) const {
  std::vector<double> x = masked_hidden(row(model_.embedding(), id));
  for (double& v : x) v *= config_.embedding_multiplier;
  return x;
}

double ReferenceForward::negative_log_likelihood(const Rows& logits, std::span<const uint32_t> ids) {
  double sum = 0;
  for (size_t t = 0; t + 1 < ids.size(); ++t) {
    double total = 0;
    for (const double v : logits[t]) total += std::exp(v - logits[t][ids[t + 1]]);
    sum += std::log(total);
  }
  return sum / static_cast<double>(ids.size() - 1);
}

std::vector<double> ReferenceForward::row(const WeightView& w, int64_t index) {
  std::vector<double> out;
  for (int64_t i = 0; i < w.cols; ++i) out.push_back(decode(w.data, w.dtype, index * w.cols + i));
  return out;
}

std::vector<double> ReferenceForward::turned(const WeightView& w) {
  std::vector<double> values(static_cast<size_t>(w.rows * w.cols));
  for (int64_t r = 0; r < w.rows; ++r) {
    for (int64_t i = 0; i < w.cols; ++i) values[static_cast<size_t>(i * w.rows + r)] = decode(w.data, w.dtype, r * w.cols + i);
  }
  return values;
}

const std::vector<double>& ReferenceForward::decoded(const WeightView& w) const {
  std::vector<double>& values = decoded_[w.data];
  if (values.empty()) values = turned(w);
  return values;
}

// Each sum has its terms in the order of the columns. The sums of a row of x advance together, so that the compiler can use vectors.
Rows ReferenceForward::product(const Rows& x, const std::vector<double>& weights, int64_t width) {
  const auto n = static_cast<size_t>(width);
  Rows out(x.size(), std::vector<double>(n, 0.0));
  for (size_t t = 0; t < x.size(); ++t) {
    double* const sums = out[t].data();
    for (size_t i = 0; i < x[t].size(); ++i) {
      const double factor = x[t][i];
      const double* const column = weights.data() + i * n;
      for (size_t r = 0; r < n; ++r) sums[r] += factor * column[r];
    }
  }
  return out;
}

Rows ReferenceForward::project(int64_t l, Projection p, const Rows& x) const {
  const WeightView& w = model_.layer(l).proj[p];
  Rows out = product(x, decoded(w), w.rows);
  if (p <= kV && model_.layer(l).qkv_bias[p]) add(out, Rows(x.size(), row(model_.layer(l).qkv_bias[p], 0)));
  const TrainState::Entry* a = state_ == nullptr ? nullptr : state_->lora_a(l, p);
  if (a == nullptr) return out;
  const TrainState::Entry* b = state_->lora_b(l, p);
  const WeightView a_view{state_->view(*a).data(), DType::kF32, a->shape[0], a->shape[1]};
  const WeightView b_view{state_->view(*b).data(), DType::kF32, b->shape[0], b->shape[1]};
  Rows low_rank = product(product(x, turned(a_view), a_view.rows), turned(b_view), b_view.rows);
  for (auto& values : low_rank) {
    for (double& v : values) v *= state_->lora().scale();
  }
  add(out, low_rank);
  return out;
}

void ReferenceForward::add(Rows& x, const Rows& y) {
  for (size_t t = 0; t < x.size(); ++t) {
    for (size_t i = 0; i < x[t].size(); ++i) x[t][i] += y[t].empty() ? 0.0 : y[t][i];
  }
}

std::vector<double> ReferenceForward::masked_hidden(std::vector<double> x) const {
  for (size_t i = 0; i < x.size() && !masks_.hidden.empty(); ++i) x[i] *= masks_.hidden[i];
  return x;
}

// Applies the norm behind a block to its result, where the model has such a norm.
Rows ReferenceForward::behind(const Rows& x, const WeightView& weight) const { return x.empty() || x[0].empty() ? x : norm(x, weight); }

Rows ReferenceForward::norm(const Rows& x, const WeightView& weight) const {
  if (!weight) return x;
  const std::vector<double> w = norm_weights(weight);
  Rows out = x;
  for (auto& values : out) {
    double squares = 0;
    for (const double v : values) squares += v * v;
    const double scale = 1 / std::sqrt(squares / static_cast<double>(values.size()) + config_.rms_norm_eps);
    for (size_t i = 0; i < values.size(); ++i) values[i] *= scale * w[i];
  }
  return out;
}

std::vector<double> ReferenceForward::norm_weights(const WeightView& weight) const {
  std::vector<double> w = row(weight, 0);
  for (double& v : w) v += config_.norm_offset;
  return w;
}

double ReferenceForward::frequency(int64_t l, int64_t pair) const {
  const bool local = config_.local_rope_theta > 0 && config_.layers[static_cast<size_t>(l)].sliding;
  const double base = local ? config_.local_rope_theta : config_.rope_theta;
  const double f = std::pow(base, -2.0 * static_cast<double>(pair) / static_cast<double>(config_.head_dim));
  if (local) return f;
  const RopeScaling& s = config_.rope_scaling;
  if (s.type == RopeType::kLinear) return f / s.factor;
  if (s.type == RopeType::kYarn) {
    // The rule of YaRN: the pair that turns r times over the original context has index d / 2 * log_base(length / (2 pi r)).
    const auto index_of = [&](double turns) {
      const double length = static_cast<double>(s.original_max_positions);
      return static_cast<double>(config_.head_dim) / 2 * std::log(length / (2 * std::acos(-1.0) * turns)) / std::log(config_.rope_theta);
    };
    double low = index_of(s.beta_fast), high = index_of(s.beta_slow);
    if (s.truncate) {
      low = std::floor(low);
      high = std::ceil(high);
    }
    if (low < 0) low = 0;
    if (high > static_cast<double>(config_.head_dim - 1)) high = static_cast<double>(config_.head_dim - 1);
    const double at = static_cast<double>(pair);
    const double kept = at <= low ? 1.0 : at >= high ? 0.0 : (high - at) / (high - low);
    return kept * f + (1 - kept) * f / s.factor;
  }
  if (s.type == RopeType::kDefault) return f;
  const double turns = static_cast<double>(s.original_max_positions) * f / (2 * std::acos(-1.0));
  if (turns > s.high_freq_factor) return f;
  if (turns < s.low_freq_factor) return f / s.factor;
  const double share = (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return (1 - share) * f / s.factor + share * f;
}

void ReferenceForward::norm_heads(int64_t l, Rows& x, bool key) const {
  const WeightView weight = model_.layer(l).head_norm[key];
  if (!weight) return;
  if (config_.whole_norms) return norm_open_heads(l, x, key);
  const std::vector<double> w = norm_weights(weight);
  const size_t d = w.size();
  for (auto& values : x) {
    for (size_t h = 0; h < values.size(); h += d) {
      double squares = 0;
      for (size_t i = 0; i < d; ++i) squares += values[h + i] * values[h + i];
      for (size_t i = 0; i < d; ++i) values[h + i] *= w[i] / std::sqrt(squares / static_cast<double>(d) + config_.rms_norm_eps);
    }
  }
}

// Applies one norm over all heads except closed ones.
void ReferenceForward::norm_open_heads(int64_t l, Rows& x, bool key) const {
  const LayerShape& shape = config_.layers[static_cast<size_t>(l)];
  const std::vector<double> w = norm_weights(model_.layer(l).head_norm[key]);
  const auto d = static_cast<size_t>(config_.head_dim);
  std::vector<bool> open(w.size() / d, masks_.head.empty());
  for (size_t h = 0; h < shape.kv_head_of_query.size() && !masks_.head.empty(); ++h) {
    if (masks_.head[static_cast<size_t>(l * config_.head_count) + h] != 0.0f)
      open[key ? static_cast<size_t>(shape.kv_head_of_query[h]) : h] = true;
  }
  for (auto& values : x) {
    double squares = 0, count = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      if (!open[i / d]) continue;
      squares += values[i] * values[i];
      count += 1;
    }
    if (count == 0) continue;
    for (size_t i = 0; i < values.size(); ++i) values[i] *= w[i] / std::sqrt(squares / count + config_.rms_norm_eps);
  }
}

void ReferenceForward::rotate(int64_t l, Rows& x, int64_t heads) const {
  const int64_t half = config_.head_dim / 2;
  for (int64_t j = 0; j < half; ++j) {
    const double turn = frequency(l, j);
    for (size_t t = 0; t < x.size(); ++t) {
      const double cosine = std::cos(static_cast<double>(t) * turn), sine = std::sin(static_cast<double>(t) * turn);
      for (int64_t h = 0; h < heads; ++h) {
        double& a = x[t][static_cast<size_t>(h * config_.head_dim + j)];
        double& b = x[t][static_cast<size_t>(h * config_.head_dim + j + half)];
        const double low = a * cosine - b * sine;
        b = (b * cosine + a * sine) * config_.rope_scaling.attention_factor;
        a = low * config_.rope_scaling.attention_factor;
      }
    }
  }
}

Rows ReferenceForward::attention(int64_t l, const Rows& x) const {
  if (config_.layers[static_cast<size_t>(l)].heads == 0) return Rows(x.size());
  return masked(project(l, kO, heads(l, x)));
}

Rows ReferenceForward::heads(int64_t l, const Rows& x) const {
  const LayerShape& shape = config_.layers[static_cast<size_t>(l)];
  Rows q = project(l, kQ, x), k = project(l, kK, x);
  const Rows v = project(l, kV, x);
  norm_heads(l, q, false);
  norm_heads(l, k, true);
  if (shape.rotary) {
    rotate(l, q, shape.heads);
    rotate(l, k, shape.kv_heads);
  }
  const auto d = static_cast<size_t>(config_.head_dim);
  Rows mixed(x.size());
  for (size_t t = 0; t < x.size(); ++t) {
    for (int64_t h = 0; h < shape.heads; ++h) {
      const size_t qo = static_cast<size_t>(h) * d, ko = static_cast<size_t>(shape.kv_head_of_query[static_cast<size_t>(h)]) * d;
      const size_t window = config_.sliding_window > 0 && shape.sliding ? static_cast<size_t>(config_.sliding_window) : t + 1;
      const size_t first = t + 1 > window ? t + 1 - window : 0;
      std::vector<double> share(t + 1, 0.0), out(d, 0.0);
      double total = 0;
      for (size_t s = first; s <= t; ++s) {
        double score = 0;
        for (size_t i = 0; i < d; ++i) score += q[t][qo + i] * k[s][ko + i];
        score *= config_.score_scale > 0 ? config_.score_scale : 1 / std::sqrt(static_cast<double>(d));
        total += share[s] = std::exp(capped(score, config_.score_cap));
      }
      const double z = masks_.head.empty() ? 1.0 : masks_.head[static_cast<size_t>(l * config_.head_count + h)];
      for (size_t s = first; s <= t; ++s) {
        for (size_t i = 0; i < d; ++i) out[i] += z * share[s] / total * v[s][ko + i];
      }
      mixed[t].insert(mixed[t].end(), out.begin(), out.end());
    }
  }
  return mixed;
}

Rows ReferenceForward::mlp(int64_t l, const Rows& x) const {
  if (config_.layers[static_cast<size_t>(l)].intermediate == 0) return Rows(x.size());
  return masked(project(l, kDown, units(l, x)));
}

Rows ReferenceForward::units(int64_t l, const Rows& x) const {
  const int64_t width = config_.layers[static_cast<size_t>(l)].intermediate;
  Rows gate = project(l, kGate, x);
  const Rows up = project(l, kUp, x);
  for (size_t t = 0; t < x.size(); ++t) {
    for (int64_t i = 0; i < width; ++i) {
      const auto at = static_cast<size_t>(i);
      const double z = masks_.intermediate.empty() ? 1.0 : masks_.intermediate[static_cast<size_t>(l * config_.intermediate_size + i)];
      const double g = z * gate[t][at];
      const double gelu = g / 2 * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (g + 0.044715 * g * g * g)));
      gate[t][at] = (config_.activation == Activation::kGeluTanh ? gelu : g / (1 + std::exp(-g))) * z * up[t][at];
    }
  }
  return gate;
}

std::vector<ReferenceForward::Inputs> ReferenceForward::inputs(std::span<const uint32_t> ids) const {
  std::vector<Inputs> all;
  Rows x;
  for (const uint32_t id : ids) x.push_back(embedded(id));
  for (int64_t l = 0; l < config_.layer_count; ++l) {
    Inputs in;
    in.qkv = norm(x, model_.layer(l).attention_norm);
    in.o = heads(l, in.qkv);
    add(x, behind(masked(project(l, kO, in.o)), model_.layer(l).post_attention_norm));
    in.gate_up = norm(x, model_.layer(l).mlp_norm);
    in.down = units(l, in.gate_up);
    add(x, behind(masked(project(l, kDown, in.down)), model_.layer(l).post_mlp_norm));
    all.push_back(std::move(in));
  }
  return all;
}

Rows ReferenceForward::masked(Rows x) const {
  for (auto& values : x) {
    values = masked_hidden(std::move(values));
    for (double& v : values) v *= config_.residual_multiplier;
  }
  return x;
}

}  // namespace espalier::test

#include "espalier/method/train_state.h"

#include <algorithm>
#include <cmath>

#include "espalier/base/error.h"
#include "method/philox.h"
#include "model/tensor_names.h"

namespace espalier {

namespace {

// The same as padded_width of core/device/memory.h, which a state must not include.
int64_t padded_width(int64_t n) { return (n + 15) / 16 * 16; }

}  // namespace

StateLayout::StateLayout(const ModelConfig& config, const LoraSpec& lora, const BlockGates& gates) : lora_(lora), gates_(gates) {
  const bool any = [&] {
    for (bool t : lora.targets)
      if (t) return true;
    return false;
  }();
  if (any && lora.rank < 1) throw Error(ErrorCode::kInvalidArgument, "lora.rank", "must be at least 1, not " + std::to_string(lora.rank));
  lora_index_.assign(config.layer_count * kProjectionCount * 2, -1);
  for (int64_t l = 0; l < config.layer_count; l++)
    for (int p = 0; p < kProjectionCount; p++) {
      const Extent extent = projection_extent(config, config.layers[l], p);
      if (!lora.targets[p] || extent.rows == 0 || extent.cols == 0) continue;
      const std::string name = layer_prefix(l) + kProjectionNames[p];
      lora_index_[(l * kProjectionCount + p) * 2] = add(name + ".lora_A", {lora.rank, extent.cols});
      lora_index_[(l * kProjectionCount + p) * 2 + 1] = add(name + ".lora_B", {extent.rows, lora.rank});
    }
  vectors_begin_ = size_;
  add_masks(config);
}

// A state with own weights has no LoRA.
StateLayout::StateLayout(const ModelConfig& config, const OpenWidths& widths, const BlockGates& gates)
    : lora_{1, 1.0, {}}, gates_(gates), widths_(widths) {
  lora_index_.assign(config.layer_count * kProjectionCount * 2, -1);
  const int64_t hidden = padded_width(widths.hidden), d = config.head_dim;
  for (int64_t l = 0; l < config.layer_count; l++) {
    const OpenWidths::Layer& open = widths.layers[l];
    const int64_t query = open.heads * d, kv = open.kv_heads * d;
    const std::array<Extent, kProjectionCount> extents{{{query, hidden},
                                                        {kv, hidden},
                                                        {kv, hidden},
                                                        {widths.hidden, query},
                                                        {open.units, hidden},
                                                        {open.units, hidden},
                                                        {widths.hidden, open.units}}};
    for (int p = 0; p < kProjectionCount; p++)
      if (extents[p].rows > 0 && extents[p].cols > 0) add(projection_name(l, p), {extents[p].rows, padded_width(extents[p].cols)});
  }
  if (widths.own_embeddings) add(kEmbeddingName, {config.vocab_size, hidden});
  if (widths.own_embeddings && !config.tied_embeddings) add(kLmHeadName, {config.vocab_size, hidden});
  vectors_begin_ = size_;
  for (int64_t l = 0; l < config.layer_count; l++) {
    const OpenWidths::Layer& open = widths.layers[l];
    if (open.heads > 0) {
      if (config.pre_norms) add(input_norm_name(l), {hidden});
      if (config.post_norms) add(post_attention_norm_name(l), {hidden});
      for (int p = kQ; p <= kV && config.qkv_bias; p++) add(projection_bias_name(l, p), {(p == kQ ? open.heads : open.kv_heads) * d});
      for (const bool key : {false, true})
        if (config.head_norms) add(head_norm_name(l, key), {head_norm_size(config, key ? open.kv_heads : open.heads)});
    }
    if (open.units > 0 && config.pre_norms) add(mlp_norm_name(config, l), {hidden});
    if (open.units > 0 && config.post_norms) add(post_mlp_norm_name(l), {hidden});
  }
  add(kFinalNormName, {hidden});
  add_masks(config);
}

int32_t StateLayout::add(std::string name, std::vector<int64_t> shape) {
  int64_t size = 1;
  for (int64_t s : shape) size *= s;
  const auto index = static_cast<int32_t>(entries_.size());
  by_name_.emplace(name, index);
  entries_.push_back({std::move(name), std::move(shape), size_, size});
  size_ += size;
  return index;
}

void StateLayout::add_masks(const ModelConfig& config) {
  lora_size_ = size_;
  add("mask.head", {config.layer_count, config.head_count});
  add("mask.intermediate", {config.layer_count, config.intermediate_size});
  add("mask.hidden", {config.hidden_size});
  if (gates_.kv_group) add("mask.kv_group", {config.layer_count, config.kv_head_count});
  if (gates_.attention) add("mask.attention", {config.layer_count});
  if (gates_.mlp) add("mask.mlp", {config.layer_count});
}

const StateLayout::Entry* StateLayout::find(const std::string& name) const {
  const auto at = by_name_.find(name);
  return at == by_name_.end() ? nullptr : &entries_[at->second];
}

const StateLayout::Entry* StateLayout::lora_a(int64_t layer, Projection p) const {
  const int32_t i = lora_index_[(layer * kProjectionCount + p) * 2];
  return i < 0 ? nullptr : &entries_[i];
}

const StateLayout::Entry* StateLayout::lora_b(int64_t layer, Projection p) const {
  const int32_t i = lora_index_[(layer * kProjectionCount + p) * 2 + 1];
  return i < 0 ? nullptr : &entries_[i];
}

TrainState::TrainState(const StateLayout& layout, bool with_moments)
    : StateLayout(layout),
      params_(layout.size(), 0.0f),
      adam_m_(with_moments ? layout.size() : 0, 0.0f),
      adam_v_(with_moments ? layout.size() : 0, 0.0f) {}

static void fill_normal(std::span<float> values, uint64_t seed, RandomStream stream, double mean, double deviation) {
  for (size_t i = 0; i < values.size(); i++)
    values[i] = static_cast<float>(mean + deviation * random_normal(seed, 0, static_cast<uint32_t>(stream), static_cast<int64_t>(i)));
}

namespace {

// Returns a value of LoRA's A: kaiming-uniform with a = sqrt(5), as is usual for LoRA, so the bound is 1 / sqrt(in).
float lora_start(uint64_t seed, int64_t step, uint32_t stream, int64_t index, int64_t in) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  return static_cast<float>(bound * (2.0 * random_uniform(seed, step, stream, index) - 1.0));
}

}  // namespace

TrainState TrainState::widened(const ModelConfig& config, int64_t more_rank, uint64_t seed) const {
  const int64_t rank = lora().rank, wide = rank + more_rank;
  LoraSpec spec = lora();
  spec.rank = wide;
  spec.alpha = lora().alpha * static_cast<double>(wide) / static_cast<double>(rank);
  TrainState out(config, spec, gates());
  static_cast<StateScalars&>(out) = *this;
  for (size_t e = 0; e < entries().size(); e++) {
    const Entry &from = entries()[e], &to = out.entries()[e];
    const std::span<const float> values = view(from);
    const std::span<float> made = out.view(to);
    if (to.name.ends_with(".lora_A")) {  // [rank, in]
      std::copy(values.begin(), values.end(), made.begin());
      for (int64_t i = from.size; i < to.size; i++)
        made[i] = lora_start(seed, step, static_cast<uint32_t>(RandomStream::kLoraWidening) + static_cast<uint32_t>(e), i, to.shape[1]);
    } else if (to.name.ends_with(".lora_B")) {  // [out, rank]
      for (int64_t row = 0; row < to.shape[0]; row++) std::copy_n(values.begin() + row * rank, rank, made.begin() + row * wide);
    } else {
      std::copy(values.begin(), values.end(), made.begin());
      std::copy_n(adam_m_.begin() + from.offset, from.size, out.adam_m_.begin() + to.offset);
      std::copy_n(adam_v_.begin() + from.offset, from.size, out.adam_v_.begin() + to.offset);
    }
  }
  return out;
}

void TrainState::initialise(uint64_t seed) {
  std::fill(params_.begin(), params_.end(), 0.0f);
  std::fill(adam_m_.begin(), adam_m_.end(), 0.0f);
  std::fill(adam_v_.begin(), adam_v_.end(), 0.0f);
  static_cast<StateScalars&>(*this) = {};
  for (size_t e = 0; e < entries().size(); e++) {
    const std::string& name = entries()[e].name;
    if (!name.ends_with(".lora_A")) continue;
    const auto stream = static_cast<uint32_t>(RandomStream::kLoraInit) + static_cast<uint32_t>(e);
    std::span<float> a = view(entries()[e]);
    for (size_t i = 0; i < a.size(); i++) a[i] = lora_start(seed, 0, stream, static_cast<int64_t>(i), entries()[e].shape[1]);
  }
  fill_normal(view(*find("mask.head")), seed, RandomStream::kInitHead, 10.0, 0.01);
  fill_normal(view(*find("mask.intermediate")), seed, RandomStream::kInitIntermediate, std::log(0.99 / 0.01), 0.01);
  fill_normal(view(*find("mask.hidden")), seed, RandomStream::kInitHidden, 10.0, 0.01);
  const auto fill_block = [&](const char* name, RandomStream stream) {
    if (const Entry* e = find(name)) fill_normal(view(*e), seed, stream, 10.0, 0.01);
  };
  fill_block("mask.kv_group", RandomStream::kInitKvGroup);
  fill_block("mask.attention", RandomStream::kInitAttention);
  fill_block("mask.mlp", RandomStream::kInitMlp);
}

LogAlphas::LogAlphas(const StateLayout& layout, std::span<const float> masks, const ShapeTarget& shape)
    : gates(layout.gates()), shape(shape) {
  const auto of = [&](const char* name) {
    const StateLayout::Entry* e = layout.find(name);
    return e ? masks.subspan(static_cast<size_t>(e->offset - layout.lora_size()), static_cast<size_t>(e->size)) : std::span<const float>{};
  };
  kv_group = of("mask.kv_group");
  attention = of("mask.attention");
  mlp = of("mask.mlp");
  head = of("mask.head");
  intermediate = of("mask.intermediate");
  hidden = of("mask.hidden");
}

LogAlphas::LogAlphas(const TrainState& state)
    : LogAlphas(state, state.params().subspan(static_cast<size_t>(state.lora_size())), state.shape) {}

}  // namespace espalier

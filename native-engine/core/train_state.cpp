#include "espalier/train_state.h"

#include <cmath>

#include "espalier/error.h"
#include "philox.h"
#include "tensor_names.h"

namespace espalier {

TrainState::TrainState(const ModelConfig& config, const LoraSpec& lora) : lora_(lora) {
  const bool any = [&] {
    for (bool t : lora.targets)
      if (t) return true;
    return false;
  }();
  if (any && lora.rank < 1) throw Error(ErrorCode::kInvalidArgument, "lora.rank", "must be at least 1, not " + std::to_string(lora.rank));
  int64_t offset = 0;
  const auto add = [&](std::string name, std::vector<int64_t> shape) {
    int64_t size = 1;
    for (int64_t s : shape) size *= s;
    entries_.push_back({std::move(name), std::move(shape), offset, size});
    offset += size;
    return static_cast<int32_t>(entries_.size() - 1);
  };
  lora_index_.assign(config.layer_count * kProjectionCount * 2, -1);
  for (int64_t l = 0; l < config.layer_count; l++)
    for (int p = 0; p < kProjectionCount; p++) {
      const Extent extent = projection_extent(config, config.layers[l], p);
      if (!lora.targets[p] || extent.rows == 0 || extent.cols == 0) continue;
      const std::string name = layer_prefix(l) + kProjectionNames[p];
      lora_index_[(l * kProjectionCount + p) * 2] = add(name + ".lora_A", {lora.rank, extent.cols});
      lora_index_[(l * kProjectionCount + p) * 2 + 1] = add(name + ".lora_B", {extent.rows, lora.rank});
    }
  lora_size_ = offset;
  add("mask.head", {config.layer_count, config.head_count});
  add("mask.intermediate", {config.layer_count, config.intermediate_size});
  add("mask.hidden", {config.hidden_size});
  params_.assign(offset, 0.0f);
  adam_m_.assign(offset, 0.0f);
  adam_v_.assign(offset, 0.0f);
}

const TrainState::Entry* TrainState::find(const std::string& name) const {
  for (const Entry& e : entries_)
    if (e.name == name) return &e;
  return nullptr;
}

const TrainState::Entry* TrainState::lora_a(int64_t layer, Projection p) const {
  const int32_t i = lora_index_[(layer * kProjectionCount + p) * 2];
  return i < 0 ? nullptr : &entries_[i];
}

const TrainState::Entry* TrainState::lora_b(int64_t layer, Projection p) const {
  const int32_t i = lora_index_[(layer * kProjectionCount + p) * 2 + 1];
  return i < 0 ? nullptr : &entries_[i];
}

static void fill_normal(std::span<float> values, uint64_t seed, RandomStream stream, double mean, double deviation) {
  for (size_t i = 0; i < values.size(); i++)
    values[i] = static_cast<float>(mean + deviation * random_normal(seed, 0, static_cast<uint32_t>(stream), static_cast<int64_t>(i)));
}

TrainState TrainState::without_moments() const {
  TrainState out = *this;
  out.adam_m_ = std::vector<float>();  // "= {}" would empty it and keep its memory
  out.adam_v_ = std::vector<float>();
  return out;
}

void TrainState::initialise(uint64_t seed) {
  std::fill(params_.begin(), params_.end(), 0.0f);
  std::fill(adam_m_.begin(), adam_m_.end(), 0.0f);
  std::fill(adam_v_.begin(), adam_v_.end(), 0.0f);
  step = 0;
  lambda = lambda_m = lambda_v = {};
  for (size_t e = 0; e < entries_.size(); e++) {
    const std::string& name = entries_[e].name;
    if (!name.ends_with(".lora_A")) continue;
    // Kaiming-uniform with a = sqrt(5), as is usual for LoRA: bound = 1 / sqrt(in).
    const double bound = 1.0 / std::sqrt(static_cast<double>(entries_[e].shape[1]));
    const auto stream = static_cast<uint32_t>(RandomStream::kLoraInit) + static_cast<uint32_t>(e);
    std::span<float> a = view(entries_[e]);
    for (size_t i = 0; i < a.size(); i++)
      a[i] = static_cast<float>(bound * (2.0 * random_uniform(seed, 0, stream, static_cast<int64_t>(i)) - 1.0));
  }
  fill_normal(view(*find("mask.head")), seed, RandomStream::kInitHead, 10.0, 0.01);
  fill_normal(view(*find("mask.intermediate")), seed, RandomStream::kInitIntermediate, std::log(0.99 / 0.01), 0.01);
  fill_normal(view(*find("mask.hidden")), seed, RandomStream::kInitHidden, 10.0, 0.01);
}

}  // namespace espalier

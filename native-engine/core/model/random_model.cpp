// Random weights of a given shape, for benchmarks of models without a download. Only the shape and the scale matter.
#include <cmath>
#include <cstring>
#include <memory>
#include <numbers>

#include "espalier/base/error.h"
#include "espalier/model/model_weights.h"
#include "files/number_formats.h"
#include "model/tensor_names.h"
#include "model/weight_table.h"
#include "model/weights_digest.h"

namespace espalier {
namespace {

constexpr size_t kQuantiles = 65536;

// splitmix64, a counter-based generator: only (seed, tensor, index) decide a tensor's values.
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Returns the normal distribution's quantiles at (i + 0.5) / 65536. To draw one of them costs a look-up instead of a logarithm, so a model
// of 7 billion weights is made in seconds. Newton steps on the distribution function find the quantiles.
std::vector<float> normal_quantiles() {
  std::vector<float> out(kQuantiles);
  double x = 0;
  for (size_t i = kQuantiles / 2; i < kQuantiles; ++i) {
    const double target = (static_cast<double>(i) + 0.5) / static_cast<double>(kQuantiles);
    for (int step = 0; step < 8; ++step) {  // it starts from the neighbour, so it converges at once
      const double density = std::exp(-0.5 * x * x) / std::sqrt(2 * std::numbers::pi);
      x += (target - 0.5 * std::erfc(-x / std::numbers::sqrt2)) / density;
    }
    out[i] = static_cast<float>(x);
    out[kQuantiles - 1 - i] = static_cast<float>(-x);
  }
  return out;
}

class RandomModel final : public WeightTable {
 public:
  RandomModel(const ModelConfig& config, DType dtype, uint64_t seed)
      : WeightTable(config), dtype_(dtype), seed_(seed), quantiles_(normal_quantiles()) {
    // The usual start of LLaMA training: 0.02, and less for weights that add to the residual stream, so that it does not grow with the
    // depth.
    const float std = 0.02f;
    const float residual_std = std / std::sqrt(2.0f * static_cast<float>(config.layer_count));
    embedding_ = normal(config.vocab_size, config.hidden_size, std);
    lm_head_ = config.tied_embeddings ? embedding_ : normal(config.vocab_size, config.hidden_size, std);
    final_norm_ = constant(config.hidden_size, static_cast<float>(1 - config.norm_offset));
    for (int64_t l = 0; l < config.layer_count; ++l) {
      LayerWeights layer;
      const float one = static_cast<float>(1 - config.norm_offset);
      if (config.pre_norms) layer.attention_norm = constant(config.hidden_size, one), layer.mlp_norm = constant(config.hidden_size, one);
      if (config.post_norms)
        layer.post_attention_norm = constant(config.hidden_size, one), layer.post_mlp_norm = constant(config.hidden_size, one);
      for (int p = 0; p < kProjectionCount; ++p) {
        const Extent extent = projection_extent(config, config.layers.at(static_cast<size_t>(l)), p);
        if (extent.rows == 0 || extent.cols == 0) continue;
        layer.proj[static_cast<size_t>(p)] = normal(extent.rows, extent.cols, p == kO || p == kDown ? residual_std : std);
        if (config.qkv_bias && p <= kV) layer.qkv_bias[static_cast<size_t>(p)] = normal(1, extent.rows, std);
      }
      const LayerShape& shape = config.layers.at(static_cast<size_t>(l));
      for (const bool key : {false, true})
        if (config.head_norms && shape.heads > 0)
          layer.head_norm[key] = normal(1, head_norm_size(config, key ? shape.kv_heads : shape.heads), 1.0f);
      layers_.push_back(layer);
    }
  }

 private:
  uint8_t* allocate(int64_t rows, int64_t cols) {
    const size_t size_bytes = static_cast<size_t>(rows) * static_cast<size_t>(cols) * element_bytes(dtype_);
    storage_.push_back(std::make_unique_for_overwrite<uint8_t[]>(size_bytes));
    return storage_.back().get();
  }

  WeightView normal(int64_t rows, int64_t cols, float std) {
    std::vector<uint8_t> table(kQuantiles * element_bytes(dtype_));  // the quantiles, scaled and in the stored dtype
    for (size_t i = 0; i < kQuantiles; ++i) encode(quantiles_[i] * std, dtype_, table.data() + i * element_bytes(dtype_));
    uint8_t* data = allocate(rows, cols);
    const uint64_t key = mix(seed_ ^ mix(storage_.size()));
    const int64_t count = rows * cols;
    if (dtype_ == DType::kF32) {
      fill<uint32_t>(data, table.data(), count, key);
    } else {
      fill<uint16_t>(data, table.data(), count, key);
    }
    return {data, dtype_, rows, cols};
  }

  template <typename Word>
  static void fill(uint8_t* data, const uint8_t* table, int64_t count, uint64_t key) {
    for (int64_t i = 0; i < count; i += 4) {  // four values from one draw of 64 bits
      uint64_t bits = mix(key + static_cast<uint64_t>(i));
      for (int64_t j = i; j < std::min(i + 4, count); ++j, bits >>= 16) {
        std::memcpy(data + static_cast<size_t>(j) * sizeof(Word), table + (bits & 0xffff) * sizeof(Word), sizeof(Word));
      }
    }
  }

  WeightView constant(int64_t cols, float value) {
    uint8_t* data = allocate(1, cols);
    for (int64_t i = 0; i < cols; ++i) encode(value, dtype_, data + static_cast<size_t>(i) * element_bytes(dtype_));
    return {data, dtype_, 1, cols};
  }

  DType dtype_;
  uint64_t seed_;
  std::vector<float> quantiles_;
  std::vector<std::unique_ptr<uint8_t[]>> storage_;
};

}  // namespace

std::shared_ptr<const ModelWeights> random_model(const ModelConfig& config, DType dtype, uint64_t seed) {
  if (static_cast<int64_t>(config.layers.size()) != config.layer_count || config.layer_count == 0) {
    throw Error(ErrorCode::kInvalidArgument, "config.layers",
                "config.layers must hold the widths of each of the " + std::to_string(config.layer_count) + " layers");
  }
  return std::make_shared<RandomModel>(config, dtype, seed);
}

uint64_t random_model_bytes(const ModelConfig& c, DType dtype) {
  int64_t count = c.vocab_size * c.hidden_size * (c.tied_embeddings ? 1 : 2) + c.hidden_size;
  for (const LayerShape& layer : c.layers) {
    for (int p = 0; p < kProjectionCount; ++p) {
      const Extent extent = projection_extent(c, layer, p);
      count += extent.rows * extent.cols + (c.qkv_bias && p <= kV ? extent.rows : 0);
    }
    count += (c.pre_norms ? 2 : 0) * c.hidden_size + (c.post_norms ? 2 : 0) * c.hidden_size;
    if (c.head_norms && layer.heads > 0) count += head_norm_size(c, layer.heads) + head_norm_size(c, layer.kv_heads);
  }
  return static_cast<uint64_t>(count) * element_bytes(dtype);
}

}  // namespace espalier

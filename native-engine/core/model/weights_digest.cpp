#include "model/weights_digest.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "espalier/base/error.h"
#include "files/json_reader.h"
#include "files/number_formats.h"
#include "files/sha256.h"
#include "model/tensor_names.h"

namespace espalier {
namespace {

// Returns all fields of the configuration that can change a result, in a fixed order. Numbers are written as in JSON (shortest exact form).
std::string canonical_config(const ModelConfig& c) {
  Json layers = Json::array();
  for (const LayerShape& l : c.layers) layers.push_back({l.heads, l.kv_heads, l.intermediate, l.kv_head_of_query});
  Json rope = {static_cast<int>(c.rope_scaling.type), c.rope_scaling.factor, c.rope_scaling.low_freq_factor,
               c.rope_scaling.high_freq_factor, c.rope_scaling.original_max_positions};
  Json all = {c.architecture, c.hidden_size,   c.layer_count,    c.head_count,   c.kv_head_count, c.head_dim, c.intermediate_size,
              c.vocab_size,   c.max_positions, c.sliding_window, c.rms_norm_eps, c.rope_theta,    rope,       c.tied_embeddings,
              c.qkv_bias,     layers};
  // Each field below is written only where a model has it.
  if (c.rope_scaling.type == RopeType::kYarn) {
    for (const double value : {c.rope_scaling.beta_fast, c.rope_scaling.beta_slow, c.rope_scaling.attention_factor}) rope.push_back(value);
    rope.push_back(c.rope_scaling.truncate);
    all.push_back({"yarn", rope});
  }
  if (c.head_norms) all.push_back("head norms");
  if (c.embedding_multiplier != 1 || c.residual_multiplier != 1 || c.logits_divisor != 1 || c.score_scale != 0)
    all.push_back({"multipliers", c.embedding_multiplier, c.residual_multiplier, c.logits_divisor, c.score_scale});
  if (c.score_cap != 0 || c.logits_cap != 0) all.push_back({"caps", c.score_cap, c.logits_cap});
  if (c.whole_norms || c.post_norms || !c.pre_norms) all.push_back({"norms", c.whole_norms, c.pre_norms, c.post_norms, c.norm_offset});
  if (c.activation != Activation::kSilu) all.push_back("gelu");
  if (c.local_rope_theta != 0 || std::any_of(c.layers.begin(), c.layers.end(), [](const LayerShape& l) { return !l.sliding; })) {
    Json slides = Json::array();
    for (const LayerShape& l : c.layers) slides.push_back(l.sliding);
    all.push_back({"sliding layers", slides, c.local_rope_theta});
  }
  if (!c.rotary_everywhere()) {
    Json still = Json::array();
    for (const LayerShape& l : c.layers) still.push_back(!l.rotary);
    all.push_back({"without rotary embedding", still});
  }
  return all.dump();
}

constexpr uint64_t kBlockBytes = 64 << 10;  // a block stays in the cache between the check and the digest

// Tells whether all values are finite: an exponent of all ones is NaN or an infinity. The loop has no branches, so that the compiler can
// vectorise it.
template <class Bits>
bool all_finite(const uint8_t* bytes, uint64_t count, Bits exponent) {
  unsigned found = 0;
  for (uint64_t i = 0; i < count; ++i) {
    Bits bits;
    std::memcpy(&bits, bytes + i * sizeof(Bits), sizeof(Bits));
    found |= static_cast<unsigned>((bits & exponent) == exponent);
  }
  return found == 0;
}

bool all_finite(const uint8_t* bytes, uint64_t count, DType dtype) {
  if (dtype == DType::kF32) return all_finite<uint32_t>(bytes, count, 0x7f800000u);
  return all_finite<uint16_t>(bytes, count, dtype == DType::kF16 ? 0x7c00 : 0x7f80);
}

[[noreturn]] void refuse_not_finite(const std::string& name, const WeightView& view) {
  const int64_t count = view.rows * view.cols;
  int64_t at = 0;
  while (at < count && std::isfinite(decode(view.data, view.dtype, at))) ++at;
  const std::string place = view.rows == 1 ? std::to_string(at) : std::to_string(at / view.cols) + ", " + std::to_string(at % view.cols);
  const float value = decode(view.data, view.dtype, at);
  throw Error(ErrorCode::kWeightNotFinite, "model",
              "tensor " + name + " holds " +
                  (std::isnan(value) ? "NaN"
                   : value > 0       ? "infinity"
                                     : "-infinity") +
                  " at [" + place + "]; every weight must be a finite number");
}

}  // namespace

const char* dtype_name(DType dtype) { return dtype == DType::kF32 ? "F32" : dtype == DType::kF16 ? "F16" : "BF16"; }

uint64_t element_bytes(DType dtype) { return dtype == DType::kF32 ? 4 : 2; }

void for_each_tensor(const ModelWeights& model, const std::function<void(const std::string&, const WeightView&)>& visit) {
  const auto visit_present = [&](const std::string& name, const WeightView& view) {
    if (view) visit(name, view);
  };
  visit_present(kEmbeddingName, model.embedding());
  for (int64_t l = 0; l < model.config().layer_count; ++l) {
    const LayerWeights& layer = model.layer(l);
    visit_present(input_norm_name(l), layer.attention_norm);
    for (int p = 0; p < kProjectionCount; ++p) {
      visit_present(projection_name(l, p), layer.proj[static_cast<size_t>(p)]);
      if (p <= kV) visit_present(projection_bias_name(l, p), layer.qkv_bias[static_cast<size_t>(p)]);
    }
    for (const bool key : {false, true}) visit_present(head_norm_name(l, key), layer.head_norm[key]);
    visit_present(mlp_norm_name(model.config(), l), layer.mlp_norm);
    visit_present(post_attention_norm_name(l), layer.post_attention_norm);
    visit_present(post_mlp_norm_name(l), layer.post_mlp_norm);
  }
  visit_present(kFinalNormName, model.final_norm());
  if (!model.config().tied_embeddings) visit_present(kLmHeadName, model.lm_head());
}

uint64_t weights_bytes(const ModelWeights& model) {
  uint64_t bytes = 0;
  for_each_tensor(model, [&](const std::string&, const WeightView& view) {
    bytes += static_cast<uint64_t>(view.rows) * static_cast<uint64_t>(view.cols) * element_bytes(view.dtype);
  });
  return bytes;
}

std::string weights_digest(const ModelWeights& model, const std::atomic<bool>& cancel) {
  Sha256 hash;
  const std::string config = canonical_config(model.config());
  hash.update(config.data(), config.size());
  for_each_tensor(model, [&](const std::string& name, const WeightView& view) {
    const std::string label =
        "\n" + name + " " + dtype_name(view.dtype) + " " + std::to_string(view.rows) + "x" + std::to_string(view.cols) + "\n";
    hash.update(label.data(), label.size());
    const auto* bytes = static_cast<const uint8_t*>(view.data);
    const uint64_t total = static_cast<uint64_t>(view.rows) * static_cast<uint64_t>(view.cols) * element_bytes(view.dtype);
    for (uint64_t done = 0; done < total; done += kBlockBytes) {
      if (cancel) throw Error(ErrorCode::kCancelled, "model", "reading the model's weights was stopped");
      const uint64_t size = std::min(kBlockBytes, total - done);
      if (!all_finite(bytes + done, size / element_bytes(view.dtype), view.dtype)) refuse_not_finite(name, view);
      hash.update(bytes + done, size);
    }
  });
  return hash.finish_hex();
}

}  // namespace espalier

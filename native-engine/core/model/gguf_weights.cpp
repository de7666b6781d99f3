#include "model/gguf_weights.h"

#include <algorithm>
#include <cmath>
#include <list>
#include <set>

#include "files/gguf_file.h"
#include "files/mapped_file.h"
#include "model/gguf_names.h"
#include "model/tensor_names.h"
#include "model/weight_table.h"
#include "model/weights_digest.h"

namespace espalier {
namespace {

RopeScaling read_rope(const GgufFile& file, const std::string& prefix) {
  RopeScaling rope;
  const std::string type = file.string_or(prefix + "rope.scaling.type", "none");
  if (type == "linear" || type == "yarn") rope.factor = file.number(prefix + "rope.scaling.factor");
  if (type == "linear") rope.type = RopeType::kLinear;
  if (type == "yarn") {
    rope.type = RopeType::kYarn;
    rope.original_max_positions = static_cast<int64_t>(file.number(prefix + "rope.scaling.original_context_length"));
    rope.attention_factor = default_attention_factor(rope.factor) * file.number_or(prefix + "rope.scaling.attn_factor", 1.0);
  }
  if (!file.tensors.contains(kGgufRopeFactors)) return rope;
  // The divisors alone do not tell the rule by which they were made, but an export of ours stores the rule.
  rope.type = RopeType::kLlama3;
  rope.factor = file.number(kRopeKeyPrefix + std::string("factor"));
  rope.low_freq_factor = file.number(kRopeKeyPrefix + std::string("low_freq_factor"));
  rope.high_freq_factor = file.number(kRopeKeyPrefix + std::string("high_freq_factor"));
  rope.original_max_positions = static_cast<int64_t>(file.number(kRopeKeyPrefix + std::string("original_max_positions")));
  return rope;
}

std::string supported_architectures() {
  std::set<std::string> names = {"deci"};
  for (const Architecture& a : kArchitectures) names.insert(a.gguf);
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

ModelConfig read_config(const GgufFile& file) {
  const std::string architecture = file.string_or("general.architecture", "");
  const Architecture* known = find_gguf_architecture(architecture);
  if (known == nullptr) {
    throw Error(ErrorCode::kModelUnsupported, file.source + ":general.architecture",
                "general.architecture is \"" + architecture + "\": supported are " + supported_architectures());
  }
  const std::string prefix = architecture + ".";
  const auto integer = [&](const char* key) { return static_cast<int64_t>(file.number(prefix + key)); };
  ModelConfig c;
  const bool bias = file.tensors.contains(gguf_projection_name(0, kQ, ".bias"));
  if (bias) known = find_architecture("Qwen2ForCausalLM");
  c.architecture = known->name;
  take_computation(*known, c);
  c.norm_offset = 0;  // the file's weights already contain it
  c.layer_count = std::clamp<int64_t>(integer("block_count"), 1, 4096);
  c.hidden_size = integer("embedding_length");
  c.vocab_size = integer("vocab_size");
  c.max_positions = integer("context_length");
  c.head_dim = integer("attention.key_length");
  c.rms_norm_eps = file.number(prefix + "attention.layer_norm_rms_epsilon");
  c.rope_theta = file.number(prefix + "rope.freq_base");
  c.rope_scaling = read_rope(file, prefix);
  c.tied_embeddings = !file.tensors.contains("output.weight");
  if (known->window == Window::kListed) {
    c.sliding_window = static_cast<int64_t>(file.number_or(prefix + kGgufWindow, 0));
    if (known->local_rope) c.local_rope_theta = kGemma3LocalBase;
  }
  if (known->scaled_embeddings) c.embedding_multiplier = std::sqrt(static_cast<double>(c.hidden_size));
  if (known->caps) {
    c.score_cap = file.number(prefix + kGgufScoreCap);
    c.logits_cap = file.number(prefix + kGgufLogitsCap);
  }
  if (known->multipliers) {
    c.score_scale = file.number(prefix + kGgufScoreScale);
    c.embedding_multiplier = file.number(prefix + kGgufEmbeddingScale);
    c.residual_multiplier = file.number(prefix + kGgufResidualScale);
    c.logits_divisor = file.number(prefix + kGgufLogitScale);
  }
  const auto heads = file.per_layer(prefix + "attention.head_count", c.layer_count);
  const auto kv_heads = file.per_layer(prefix + "attention.head_count_kv", c.layer_count);
  const auto units = file.per_layer(prefix + "feed_forward_length", c.layer_count);
  for (size_t l = 0; l < heads.size(); ++l) {
    if (heads[l] > 0 && (kv_heads[l] == 0 || heads[l] % kv_heads[l] != 0)) {
      throw Error(ErrorCode::kModelUnsupported, file.source + ":" + prefix + "attention.head_count_kv",
                  "layer " + std::to_string(l) + " has " + std::to_string(heads[l]) + " query heads, no multiple of its " +
                      std::to_string(kv_heads[l]) + " key/value heads");
    }
    LayerShape shape{heads[l], heads[l] > 0 ? kv_heads[l] : 0, units[l], {}};
    for (int64_t h = 0; h < heads[l]; ++h) shape.kv_head_of_query.push_back(static_cast<int32_t>(h / (heads[l] / kv_heads[l])));
    c.head_count = std::max(c.head_count, shape.heads);
    c.kv_head_count = std::max(c.kv_head_count, shape.kv_heads);
    c.intermediate_size = std::max(c.intermediate_size, shape.intermediate);
    shape.sliding = known->window != Window::kListed || (l + 1) % known->window_pattern != 0;
    shape.rotary = !known->rotary_by_layer || (l + 1) % kSmolLm3Interval != 0;
    c.layers.push_back(std::move(shape));
  }
  if (known->score_divisor) c.score_scale = gemma_score_scale(c);
  return c;
}

class GgufModel final : public WeightTable {
 public:
  // file: its tensors point into the mapping
  GgufModel(MappedFile mapping, GgufFile file) : WeightTable(read_config(file)), mapping_(std::move(mapping)), file_(std::move(file)) {
    const ModelConfig& c = config_;
    embedding_ = take("token_embd.weight", c.vocab_size, c.hidden_size);
    final_norm_ = take("output_norm.weight", 0, c.hidden_size);
    lm_head_ = c.tied_embeddings ? embedding_ : take("output.weight", c.vocab_size, c.hidden_size);
    for (int64_t l = 0; l < c.layer_count; ++l) layers_.push_back(take_layer(l));
    for (const auto& [name, tensor] : file_.tensors) {
      if (used_.contains(name) || name == kGgufRopeFactors) continue;
      throw Error(ErrorCode::kModelUnsupported, std::string(kGgufFileName) + ":" + name.substr(0, 200),
                  "tensor " + name.substr(0, 200) + " has no place in this architecture");
    }
  }

 private:
  const GgufTensor& find(const std::string& name, int64_t rows, int64_t cols) {
    const auto found = file_.tensors.find(name);
    const std::vector<int64_t> expected = rows == 0 ? std::vector<int64_t>{cols} : std::vector<int64_t>{rows, cols};
    if (found == file_.tensors.end() || found->second.shape != expected) {
      throw Error(ErrorCode::kModelCorrupt, std::string(kGgufFileName) + ":" + name,
                  "tensor " + name + " is missing in " + kGgufFileName + " or has another shape than its metadata say");
    }
    used_.insert(name);
    return found->second;
  }

  WeightView take(const std::string& name, int64_t rows, int64_t cols) {
    const GgufTensor& tensor = find(name, rows, cols);
    if (tensor.type == StoredType::kQ8_0) return decoded(tensor, cols);
    const DType dtype = tensor.type == StoredType::kF32 ? DType::kF32 : tensor.type == StoredType::kF16 ? DType::kF16 : DType::kBF16;
    return {tensor.bytes.data(), dtype, rows == 0 ? 1 : rows, cols};
  }

  WeightView decoded(const GgufTensor& tensor, int64_t cols) {
    const auto width = static_cast<size_t>(cols);
    const size_t blocks = tensor.bytes.size() / kQ8BlockBytes;
    std::vector<uint8_t>& copy = copies_.emplace_back(blocks * kQ8BlockValues * sizeof(float));
    for (size_t i = 0; i < blocks * kQ8BlockValues; ++i) {
      encode(decode_q8(tensor.bytes.data() + i / kQ8BlockValues * kQ8BlockBytes, i % kQ8BlockValues), DType::kF32,
             copy.data() + i * sizeof(float));
    }
    return {copy.data(), DType::kF32, static_cast<int64_t>(blocks * kQ8BlockValues / width), cols};
  }

  // Copies rows back into Hugging Face's order, which pairs the halves of a head. There are `rows` rows of `width` values; a bias has one
  // value in each row.
  WeightView with_halves(const WeightView& paired, int64_t rows, int64_t width) {
    const auto row_bytes = static_cast<size_t>(width) * element_bytes(paired.dtype);
    std::vector<uint8_t>& copy = copies_.emplace_back(static_cast<size_t>(rows) * row_bytes);
    const int64_t half = config_.head_dim / 2;
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t head = row / config_.head_dim, within = row % config_.head_dim;
      const int64_t from = head * config_.head_dim + 2 * (within % half) + within / half;
      std::copy_n(static_cast<const uint8_t*>(paired.data) + static_cast<size_t>(from) * row_bytes, row_bytes,
                  copy.data() + static_cast<size_t>(row) * row_bytes);
    }
    return {copy.data(), paired.dtype, paired.rows, paired.cols};
  }

  LayerWeights take_layer(int64_t l) {
    const LayerShape& shape = config_.layers[static_cast<size_t>(l)];
    LayerWeights out;
    const auto norm = [&](bool there, const std::string& name) { return there ? take(name, 0, config_.hidden_size) : WeightView{}; };
    const bool heads = shape.heads > 0, units = shape.intermediate > 0;
    out.attention_norm = norm(config_.pre_norms && heads, gguf_attention_norm_name(l));
    out.mlp_norm = norm(config_.pre_norms && units, gguf_mlp_norm_name(l));
    out.post_attention_norm = norm(config_.post_norms && heads, gguf_post_attention_norm_name(l));
    out.post_mlp_norm = norm(config_.post_norms && units, gguf_post_mlp_norm_name(l));
    for (int p = 0; p < kProjectionCount; ++p) {
      const auto slot = static_cast<size_t>(p);
      const Extent extent = projection_extent(config_, shape, p);
      if (extent.rows == 0 || extent.cols == 0) continue;
      out.proj[slot] = take(gguf_projection_name(l, p, ".weight"), extent.rows, extent.cols);
      if (p <= kK && !halves_) out.proj[slot] = with_halves(out.proj[slot], extent.rows, extent.cols);
      if (!config_.qkv_bias || p > kV) continue;
      out.qkv_bias[slot] = take(gguf_projection_name(l, p, ".bias"), 0, extent.rows);
      if (p <= kK && !halves_) out.qkv_bias[slot] = with_halves(out.qkv_bias[slot], extent.rows, 1);
    }
    for (const bool key : {false, true})
      if (config_.head_norms && shape.heads > 0)
        out.head_norm[key] = take(gguf_head_norm_name(l, key), 0, head_norm_size(config_, key ? shape.kv_heads : shape.heads));
    return out;
  }

  MappedFile mapping_;
  GgufFile file_;
  const bool halves_ = gguf_pairs_halves(file_.string_or("general.architecture", ""));
  std::list<std::vector<uint8_t>> copies_;
  std::set<std::string> used_;
};

}  // namespace

std::shared_ptr<const ModelWeights> load_gguf(const std::string& path) {
  MappedFile mapping(path, ErrorCode::kModelNotFound, kGgufFileName);
  GgufFile file = parse_gguf(mapping.bytes(), kGgufFileName);
  return std::make_shared<GgufModel>(std::move(mapping), std::move(file));
}

}  // namespace espalier

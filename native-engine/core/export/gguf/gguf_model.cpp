#include "export/gguf/gguf_model.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "export/gguf/gguf_tokenizer.h"
#include "files/gguf_metadata.h"
#include "model/gguf_names.h"
#include "model/gguf_weights.h"

namespace espalier {
namespace {

// The value is the digest of the whole file with zeros in place of the digest, so a file can later prove that it is unchanged.
constexpr const char* kDigestKey = "espalier.sha256";
constexpr size_t kDigestDigits = 64;

uint32_t ggml_type(StoredType type) {
  switch (type) {
    case StoredType::kF32:
      return 0;
    case StoredType::kF16:
      return 1;
    case StoredType::kQ8_0:
      return 8;
    case StoredType::kBF16:
      break;
  }
  return 30;
}

// Returns llama.cpp's number for the mixture of types, which follows from the types of the matrices.
uint32_t file_type(const std::vector<ExportTensor>& tensors) {
  bool any[4] = {};
  for (const ExportTensor& t : tensors) {
    if (!t.vector) any[static_cast<size_t>(t.type)] = true;
  }
  if (any[static_cast<size_t>(StoredType::kQ8_0)]) return 7;
  if (any[static_cast<size_t>(StoredType::kBF16)]) return 32;
  return any[static_cast<size_t>(StoredType::kF16)] ? 1 : 0;
}

// Returns the scaling of llama3 in llama.cpp's form: the divisor of each pair's frequency.
std::vector<float> rope_factors(const ModelConfig& config) {
  const RopeScaling& rope = config.rope_scaling;
  std::vector<float> out;
  if (rope.type != RopeType::kLlama3) return out;
  for (int64_t j = 0; j < config.head_dim / 2; ++j) {
    const double frequency = std::pow(config.rope_theta, -2.0 * static_cast<double>(j) / static_cast<double>(config.head_dim));
    const double turns = static_cast<double>(rope.original_max_positions) * frequency / (2 * std::numbers::pi);
    const double kept = std::clamp((turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor), 0.0, 1.0);
    out.push_back(static_cast<float>(1.0 / (kept + (1 - kept) / rope.factor)));
  }
  return out;
}

template <class Width>
std::vector<int32_t> per_layer(const ModelConfig& config, Width width) {
  std::vector<int32_t> out;
  for (const LayerShape& layer : config.layers) out.push_back(static_cast<int32_t>(width(layer)));
  return out;
}

void add_shapes(GgufMetadata& out, const ExportPlan& plan, const std::string& architecture) {
  const ModelConfig& c = plan.config;
  const std::string prefix = architecture + ".";
  const auto number = [](int64_t value) { return static_cast<uint32_t>(value); };
  out.add(prefix + "block_count", number(c.layer_count));
  out.add(prefix + "context_length", number(context_length(plan)));
  out.add(prefix + "embedding_length", number(c.hidden_size));
  out.add(prefix + "vocab_size", number(c.vocab_size));
  if (architecture != "deci") {
    out.add(prefix + "feed_forward_length", number(c.layers.front().intermediate));
    out.add(prefix + "attention.head_count", number(c.layers.front().heads));
    out.add(prefix + "attention.head_count_kv", number(c.layers.front().kv_heads));
  } else {
    out.add(prefix + "feed_forward_length", per_layer(c, [](const LayerShape& l) { return l.intermediate; }));
    out.add(prefix + "attention.head_count", per_layer(c, [](const LayerShape& l) { return l.heads; }));
    out.add(prefix + "attention.head_count_kv", per_layer(c, [](const LayerShape& l) { return l.kv_heads; }));
  }
  out.add(prefix + "attention.key_length", number(c.head_dim));
  out.add(prefix + "attention.value_length", number(c.head_dim));
  out.add(prefix + "attention.layer_norm_rms_epsilon", static_cast<float>(c.rms_norm_eps));
  out.add(prefix + "rope.dimension_count", number(c.head_dim));
  out.add(prefix + "rope.freq_base", static_cast<float>(c.rope_theta));
  if (c.rope_scaling.type == RopeType::kLinear) {
    out.add(prefix + "rope.scaling.type", "linear");
    out.add(prefix + "rope.scaling.factor", static_cast<float>(c.rope_scaling.factor));
  }
  if (c.rope_scaling.type == RopeType::kYarn) {
    const RopeScaling& rope = c.rope_scaling;
    out.add(prefix + "rope.scaling.type", "yarn");
    out.add(prefix + "rope.scaling.factor", static_cast<float>(rope.factor));
    out.add(prefix + "rope.scaling.original_context_length", number(rope.original_max_positions));
    // llama.cpp computes yarn's usual factor itself.
    const double share = rope.attention_factor / default_attention_factor(rope.factor);
    if (share != 1.0) out.add(prefix + "rope.scaling.attn_factor", static_cast<float>(share));
  }
}

void add_multipliers(GgufMetadata& out, const ModelConfig& c, const std::string& prefix) {
  out.add(prefix + kGgufScoreScale, static_cast<float>(c.score_scale));
  out.add(prefix + kGgufEmbeddingScale, static_cast<float>(c.embedding_multiplier));
  out.add(prefix + kGgufResidualScale, static_cast<float>(c.residual_multiplier));
  out.add(prefix + kGgufLogitScale, static_cast<float>(c.logits_divisor));
}

void add_tensor_info(GgufBytes& out, const std::string& name, std::vector<int64_t> shape, uint32_t type, uint64_t offset) {
  out.string(name);
  out.number(static_cast<uint32_t>(shape.size()));
  std::reverse(shape.begin(), shape.end());  // GGUF names the fastest dimension first
  for (const int64_t size : shape) out.number(static_cast<uint64_t>(size));
  out.number(type);
  out.number(offset);
}

uint64_t aligned(uint64_t size) { return (size + kGgufAlignment - 1) / kGgufAlignment * kGgufAlignment; }

}  // namespace

std::string gguf_header(const ExportPlan& plan, const std::vector<ExportTensor>& tensors, const ExportRequest& request) {
  const std::string architecture = gguf_architecture(plan);
  GgufMetadata metadata;
  metadata.add("general.architecture", architecture);
  metadata.add(kDigestKey, std::string(kDigestDigits, '0'));
  // The command line recognises an export of ours by this key, so the key stands near the start.
  metadata.add("espalier.model_card", request.model_card);
  metadata.add("general.type", "model");
  metadata.add("general.file_type", file_type(tensors));
  metadata.add("general.quantization_version", uint32_t{2});
  add_shapes(metadata, plan, architecture);
  if (architecture_of(plan.config).window == Window::kListed)
    metadata.add(architecture + "." + kGgufWindow, static_cast<uint32_t>(plan.config.sliding_window));
  if (architecture_of(plan.config).caps) {
    metadata.add(architecture + "." + kGgufScoreCap, static_cast<float>(plan.config.score_cap));
    metadata.add(architecture + "." + kGgufLogitsCap, static_cast<float>(plan.config.logits_cap));
  }
  if (architecture == "granite") add_multipliers(metadata, plan.config, architecture + ".");
  if (plan.config.rope_scaling.type == RopeType::kLlama3) {
    const RopeScaling& rope = plan.config.rope_scaling;
    const std::string prefix = kRopeKeyPrefix;
    metadata.add(prefix + "factor", static_cast<float>(rope.factor));
    metadata.add(prefix + "low_freq_factor", static_cast<float>(rope.low_freq_factor));
    metadata.add(prefix + "high_freq_factor", static_cast<float>(rope.high_freq_factor));
    metadata.add(prefix + "original_max_positions", static_cast<uint32_t>(rope.original_max_positions));
  }
  add_gguf_tokenizer(metadata, request.source_folder, plan.config);

  const std::vector<float> factors = rope_factors(plan.config);
  GgufBytes out;
  out.append("GGUF");
  out.number(kGgufVersion);
  out.number(static_cast<uint64_t>(tensors.size() + (factors.empty() ? 0 : 1)));
  out.number(metadata.count());
  out.append(metadata.bytes());
  uint64_t offset = 0;
  if (!factors.empty()) {
    add_tensor_info(out, kGgufRopeFactors, {static_cast<int64_t>(factors.size())}, ggml_type(StoredType::kF32), offset);
    offset += aligned(factors.size() * sizeof(float));
  }
  for (const ExportTensor& t : tensors) {
    add_tensor_info(out, t.name, t.shape(), ggml_type(t.type), offset);
    offset += aligned(t.stored_bytes());
  }
  out.align();
  for (const float factor : factors) out.number(factor);
  out.align();
  return out.bytes();
}

void write_gguf(FolderWriter& folder, WeightsStream& stream, const std::string& header, const std::vector<ExportTensor>& tensors) {
  folder.begin_file(kGgufFileName);
  folder.write(header.data(), header.size());
  const std::string zeros(kGgufAlignment, '\0');
  for (const ExportTensor& t : tensors) {
    stream.write(t);
    folder.write(zeros.data(), aligned(t.stored_bytes()) - t.stored_bytes());
  }
  folder.end_sealed_file(header.find(kDigestKey) + std::string(kDigestKey).size() + sizeof(uint32_t) + sizeof(uint64_t));
}

}  // namespace espalier

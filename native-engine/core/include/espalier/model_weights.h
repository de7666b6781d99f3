// The base weights: loaded once, memory-mapped, never changed, shared by all roles.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "espalier/cancel.h"
#include "espalier/dtypes.h"
#include "espalier/model_config.h"

namespace espalier {

// A read-only matrix [rows, cols], row-major, in the dtype of the file; not owned. A vector has rows == 1.
// The pointer has the alignment of the file (8 bytes at least is not guaranteed): use unaligned loads.
struct WeightView {
  const void* data = nullptr;
  DType dtype = DType::kBF16;
  int64_t rows = 0;
  int64_t cols = 0;
  explicit operator bool() const { return data != nullptr; }
};

// The seven projections that masks and LoRA touch, in this order everywhere.
enum Projection { kQ, kK, kV, kO, kGate, kUp, kDown, kProjectionCount };
extern const std::array<const char*, kProjectionCount> kProjectionNames;  // "self_attn.q_proj", ...

struct LayerWeights {
  std::array<WeightView, kProjectionCount> proj;  // Hugging Face layout [out, in]
  std::array<WeightView, 3> qkv_bias;             // [1, out]; empty when the model has none
  std::array<WeightView, 2> head_norm;            // of queries, of keys: [1, d], or [1, heads * d] of whole norms; empty: none
  // [1, D] of what attention and MLP read, and of what they add to the residual stream; empty where the model has no such norm.
  WeightView attention_norm, mlp_norm, post_attention_norm, post_mlp_norm;
};

class ModelWeights {
 public:
  virtual ~ModelWeights() = default;
  virtual const ModelConfig& config() const = 0;
  virtual const LayerWeights& layer(int64_t index) const = 0;
  virtual WeightView embedding() const = 0;   // [V, D]
  virtual WeightView final_norm() const = 0;  // [1, D]
  virtual WeightView lm_head() const = 0;     // [V, D]; the embedding when tied
  virtual uint64_t bytes() const = 0;
  // SHA-256 (hex) over config and all tensors, in canonical order; computed once. The same pass checks every value:
  // throws Error(kWeightNotFinite, "model", ...), which names the tensor. Throws Error(kCancelled) soon after `cancel` is set.
  virtual std::string digest(const std::atomic<bool>& cancel = kNeverCancelled) const = 0;
};

// Reads config.json, and model.safetensors or model.safetensors.index.json with its shards; F32, F16, BF16. A folder without
// config.json may hold an exported model.gguf instead.
// Throws Error(kModelNotFound | kModelCorrupt | kModelUnsupported | kFileTooLarge | kCancelled, field, ...).
std::shared_ptr<const ModelWeights> load_model(const std::string& folder, const std::atomic<bool>& cancel = kNeverCancelled);

// Random weights of a given shape (scaled normal, seeded), for benchmarks; stored as `dtype`.
std::shared_ptr<const ModelWeights> random_model(const ModelConfig& config, DType dtype, uint64_t seed);
uint64_t random_model_bytes(const ModelConfig& config, DType dtype);

}  // namespace espalier

// The base weights: loaded once, memory-mapped, never changed, shared by all roles.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "espalier/base/cancel.h"
#include "espalier/base/dtypes.h"
#include "espalier/model/model_config.h"

namespace espalier {

// A read-only matrix [rows, cols], row-major, in the dtype of the file; it does not own the memory. A vector has rows == 1. The pointer has
// only the alignment of the file, which may be below 8 bytes: use unaligned loads.
struct WeightView {
  const void* data = nullptr;
  DType dtype = DType::kBF16;
  int64_t rows = 0;
  int64_t cols = 0;
  explicit operator bool() const { return data != nullptr; }
};

// The seven projections that masks and LoRA act on, in this order everywhere.
enum Projection { kQ, kK, kV, kO, kGate, kUp, kDown, kProjectionCount };
extern const std::array<const char*, kProjectionCount> kProjectionNames;  // "self_attn.q_proj", ...

struct LayerWeights {
  std::array<WeightView, kProjectionCount> proj;  // Hugging Face layout [out, in]
  std::array<WeightView, 3> qkv_bias;             // [1, out]; empty where the model has none
  // For queries and for keys: [1, d], or [1, heads * d] for whole norms; empty where there are none.
  std::array<WeightView, 2> head_norm;
  // [1, D], norms of what attention and MLP read, and of what they add to the residual stream. A view is empty where the model has no such
  // norm.
  WeightView attention_norm, mlp_norm, post_attention_norm, post_mlp_norm;
};

class ModelWeights {
 public:
  virtual ~ModelWeights() = default;
  virtual const ModelConfig& config() const = 0;
  virtual const LayerWeights& layer(int64_t index) const = 0;
  virtual WeightView embedding() const = 0;   // [V, D]
  virtual WeightView final_norm() const = 0;  // [1, D]
  virtual WeightView lm_head() const = 0;     // [V, D]; the embedding where it is tied
  virtual uint64_t bytes() const = 0;
  // Returns the SHA-256 (hex) over config and all tensors in canonical order; it is computed once. The same pass checks every value and
  // throws Error(kWeightNotFinite, "model", ...), which names the tensor. Throws Error(kCancelled) soon after `cancel` is set.
  virtual std::string digest(const std::atomic<bool>& cancel = kNeverCancelled) const = 0;
};

// Loads a folder: config.json, and model.safetensors or model.safetensors.index.json with its shards, in F32, F16 or BF16. A folder without
// config.json may hold an exported model.gguf instead. Throws Error(kModelNotFound | kModelCorrupt | kModelUnsupported | kFileTooLarge |
// kCancelled, field, ...).
std::shared_ptr<const ModelWeights> load_model(const std::string& folder, const std::atomic<bool>& cancel = kNeverCancelled);

// Makes random weights of a given shape (scaled normal, seeded) for benchmarks, stored as `dtype`.
std::shared_ptr<const ModelWeights> random_model(const ModelConfig& config, DType dtype, uint64_t seed);
uint64_t random_model_bytes(const ModelConfig& config, DType dtype);

}  // namespace espalier

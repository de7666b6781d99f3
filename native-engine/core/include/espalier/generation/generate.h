// Text generation: tokens that continue a prompt, by a model as it is or under the masks and LoRA of a state.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "espalier/base/dtypes.h"
#include "espalier/device/device.h"
#include "espalier/model/model_weights.h"

namespace espalier {

// How a token is chosen from the logits. Only the seed and n decide the random number of a prompt's n-th token.
struct Sampling {
  double temperature = 0;  // 0: the most likely token, and among equals the first
  double top_p = 1;        // only the most likely tokens that together have this much of the probability can be chosen
  uint64_t seed = 0;
};

struct Prompt {
  std::vector<uint32_t> ids;
  int64_t max_tokens = 128;
  Sampling sampling;
};

struct GenerateRequest {
  std::vector<Prompt> prompts;
  std::vector<uint32_t> end_tokens;  // a text ends with any of these tokens
  ComputeDType dtype = ComputeDType::kF32;
  BackendSpec backend;
  // The number of prompts that are decoded together. No result depends on it.
  int64_t together = 16;
};

// kNone: the text goes on. kEnd: the token is one of end_tokens. kLength: the text has max_tokens, or the model's positions are used up.
enum class Finish { kNone, kEnd, kLength };

struct GeneratedToken {
  int64_t prompt = 0;  // the prompt's number in the request
  uint32_t id = 0;
  Finish finish = Finish::kNone;
};

struct GenerationResult {
  int64_t prompt_tokens = 0, generated_tokens = 0;
  double prefill_seconds = 0, decode_seconds = 0;
  int64_t decode_passes = 0;  // each pass reads the weights once
  uint64_t weight_bytes = 0;  // the bytes of weights that a pass reads
  uint64_t cache_bytes = 0;   // the bytes of keys and values, for all prompts that are decoded together
};

// Generates with `model` as it is; compacted_model makes a model of a run's state. `on_token` is called in the order in which tokens are
// made. `stopped(prompt)` is asked before each further token of a prompt. Throws Error(kInvalidArgument, "prompts[i]...", ...),
// Error(kOutOfMemory, "max_tokens") and Error(kCancelled).
GenerationResult generate(const std::shared_ptr<const ModelWeights>& model, const GenerateRequest& request,
                          const std::function<void(const GeneratedToken&)>& on_token, const std::function<bool(int64_t prompt)>& stopped,
                          const std::atomic<bool>& cancel);

}  // namespace espalier

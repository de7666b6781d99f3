// Sequences of tokens on a device. Each has a cache of the keys and values of its earlier tokens, so a new token costs one pass over the
// open weights and the cache.
#pragma once
#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "step/layer_pass.h"

namespace espalier {

struct DecoderShape {
  int64_t sequences = 1;
  int64_t prompt = 1;  // tokens of the longest prompt
  int64_t tokens = 1;  // of the longest sequence, its prompt included
  ComputeDType dtype = ComputeDType::kF32;
};

struct NextToken {
  int64_t sequence = 0;
  uint32_t id = 0;
};

class Decoder {
 public:
  Decoder(Backend& backend, std::shared_ptr<const ModelWeights> model, const DecoderShape& shape);
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  // A new sequence in place of an earlier one. Returns the logits after its last token. Looks at `cancel` before each layer.
  std::vector<float> start(int64_t sequence, std::span<const uint32_t> ids, const std::atomic<bool>& cancel);
  // One token more for each of some sequences. Their logits, [N, vocabulary]: a sequence's don't depend on the others.
  std::vector<float> advance(std::span<const NextToken> next);

  // As if the sequence had this many tokens; its cache keeps what it holds. For measurements, whose times don't depend on values.
  void set_length(int64_t sequence, int64_t tokens) { lengths_.at(static_cast<size_t>(sequence)) = tokens; }

  int64_t length(int64_t sequence) const { return lengths_.at(static_cast<size_t>(sequence)); }

  // Room for keys and values of all sequences.
  static uint64_t cache_bytes(const ModelConfig& config, const DecoderShape& shape);
  // All memory of the decoder beside the weights.
  static uint64_t bytes(const ModelConfig& config, const DecoderShape& shape);

 private:
  void keep_prompt(int64_t layer, int64_t sequence, const AttentionShape& shape, const Tensor& operands);
  int64_t capacity(int64_t layer) const;
  std::vector<float> logits(PassContext& c, Tensor x, int64_t first, int64_t count);

  Backend& backend_;
  DecoderShape shape_;
  DeviceModel model_;
  UploadBlock role_block_, token_block_;
  DeviceRole role_;
  DeviceBuffer memory_, cache_memory_;
  Workspace ws_;
  std::vector<Tensor> cache_;  // by layer
  PassContext prompt_pass_, token_pass_;
  RopeTables rope_;  // of every position
  std::vector<int64_t> lengths_;
};

}  // namespace espalier

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
  int64_t prompt = 1;  // the tokens of the longest prompt
  int64_t tokens = 1;  // the tokens of the longest sequence, including its prompt
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

  // Starts a new sequence in place of an earlier one. Returns the logits after its last token. Checks `cancel` before each layer.
  std::vector<float> start(int64_t sequence, std::span<const uint32_t> ids, const std::atomic<bool>& cancel);
  // Adds one token to each of some sequences. Returns their logits, [N, vocabulary]. The logits of a sequence don't depend on the others.
  std::vector<float> advance(std::span<const NextToken> next);

  // Pretends that the sequence has this many tokens; its cache keeps its contents. For measurements, whose times don't depend on values.
  void set_length(int64_t sequence, int64_t tokens) { lengths_.at(static_cast<size_t>(sequence)) = tokens; }

  int64_t length(int64_t sequence) const { return lengths_.at(static_cast<size_t>(sequence)); }

  // Returns the bytes of the keys and values of all sequences.
  static uint64_t cache_bytes(const ModelConfig& config, const DecoderShape& shape);
  // Returns all memory of the decoder besides the weights.
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
  std::vector<Tensor> cache_;  // one tensor for each layer
  PassContext prompt_pass_, token_pass_;
  RopeTables rope_;  // the angles of every position
  std::vector<int64_t> lengths_;
};

}  // namespace espalier

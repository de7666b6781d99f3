// The tokens of a text in the form that a session takes.
#pragma once
#include <concepts>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace espalier {

// The tokens of a text, one after the other. Rows of `sequence_length` tokens are cut from its start, and the rest is dropped.
class TokenText {
 public:
  virtual ~TokenText() = default;
  virtual int64_t size() const = 0;
  virtual uint32_t largest_id() const = 0;
  // Returns the words of these tokens in the form that `token_data` takes. Throws Error(kIo, "data", ...) where they can't be read.
  virtual std::vector<uint32_t> words(int64_t first, int64_t count) const = 0;
};

// A text in memory.
struct TokenData final : TokenText {
  std::vector<uint32_t> ids;
  // For each token: true where it is read, but no loss counts its prediction; empty where that holds for no token.
  std::vector<bool> context;

  int64_t size() const override { return static_cast<int64_t>(ids.size()); }
  uint32_t largest_id() const override;
  std::vector<uint32_t> words(int64_t first, int64_t count) const override;
};
// Makes a text from words of 32 bits, in which data are stored: an id, and in the highest bit whether the token is context.
TokenData token_data(std::vector<uint32_t> words);

// A shard of a text: words of 32 bits with the lowest byte first.
struct TokenFile {
  std::string path;
  std::string digest;  // the SHA-256 of the file
  int64_t tokens = 0;
};
// Opens shards as one text, in this order. Rows are read when a step asks for them, so the memory does not depend on the size. Each file is
// read once for its digest, unless this process has read it before and it has not changed. Throws Error(kStateCorrupt, "data", ...).
std::shared_ptr<const TokenText> token_files(const std::vector<TokenFile>& files);

// A source of a run's text, and its part of the sequences.
struct TokenSource {
  std::shared_ptr<const TokenText> text;
  uint64_t parts = 1;
};

// The text that a run trains on. batch_order.h says which source each sequence comes from.
struct TrainingText {
  std::vector<TokenSource> sources;

  TrainingText() = default;
  explicit TrainingText(std::vector<TokenSource> all) : sources(std::move(all)) {}
  // A text with a single source.
  template <std::derived_from<TokenText> Text>
  TrainingText(std::shared_ptr<const Text> text) {  // NOLINT(google-explicit-constructor): a text is one
    sources.push_back({std::move(text), 1});
  }
  template <std::derived_from<TokenText> Text>
  TrainingText(std::shared_ptr<Text> text) {  // NOLINT(google-explicit-constructor): likewise
    sources.push_back({std::move(text), 1});
  }

  explicit operator bool() const { return !sources.empty(); }
  int64_t size() const;  // the number of tokens
  // Returns the number of rows of all sources.
  int64_t row_count(int64_t tokens_per_row) const;
  uint32_t largest_id() const;
};

}  // namespace espalier

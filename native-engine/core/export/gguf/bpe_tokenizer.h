// A BPE tokenizer that was read from tokenizer.json and checked.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "files/json_reader.h"

namespace espalier {

struct AddedToken {
  std::string text;
  int64_t id = 0;
  bool special = false;
};

struct BpeTokenizer {
  std::vector<std::string> tokens;  // by id, up to the model's vocabulary; a text is empty where tokenizer.json names no token
  std::vector<AddedToken> added;
  std::vector<std::pair<std::string, std::string>> merges;
  bool byte_fallback = false, ignore_merges = false;
  std::string unknown;  // empty where there is none
  Json normalizer, pre_tokenizer, post_processor;
};

// Throws Error(kNotSupported | kModelCorrupt, "tokenizer.json...").
BpeTokenizer read_bpe_tokenizer(const Json& document, int64_t vocab_size);

}  // namespace espalier

// A GGUF file, version 3, little-endian only, read into its parts and checked.
#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "espalier/base/error.h"
#include "files/stored_type.h"

namespace espalier {

struct GgufTensor {
  StoredType type = StoredType::kF32;
  std::vector<int64_t> shape;      // slowest dimension first, like everywhere else in the core
  std::span<const uint8_t> bytes;  // not owned
};

// Numbers and truth values become double, arrays of numbers vectors of double. Arrays of strings are skipped.
using GgufValue = std::variant<double, std::string, std::vector<double>>;

struct GgufFile {
  std::map<std::string, GgufValue> metadata;
  std::map<std::string, GgufTensor> tensors;

  // These throw Error(kModelCorrupt, "<source>:<key>") when the key is missing or of another kind.
  double number(const std::string& key) const;
  double number_or(const std::string& key, double fallback) const;
  std::string string_or(const std::string& key, const std::string& fallback) const;
  // Returns one number for each of `count` layers; a single number in the file stands for all of them.
  std::vector<int64_t> per_layer(const std::string& key, int64_t count) const;

  std::string source;  // for messages
};

// Throws Error(kModelCorrupt | kModelUnsupported, "<source>" or "<source>:<name>", ...). The tensors point into `file`.
GgufFile parse_gguf(std::span<const uint8_t> file, const std::string& source);

}  // namespace espalier

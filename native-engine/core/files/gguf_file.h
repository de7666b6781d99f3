// A GGUF file, version 3, read into its parts and checked; little-endian only.
#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "espalier/error.h"
#include "files/stored_type.h"

namespace espalier {

struct GgufTensor {
  StoredType type = StoredType::kF32;
  std::vector<int64_t> shape;      // slowest dimension first, as everywhere else here
  std::span<const uint8_t> bytes;  // not owned
};

// Numbers and truth values as double, arrays of numbers as vectors of double; arrays of strings are passed over.
using GgufValue = std::variant<double, std::string, std::vector<double>>;

struct GgufFile {
  std::map<std::string, GgufValue> metadata;
  std::map<std::string, GgufTensor> tensors;

  // Throw Error(kModelCorrupt, "<source>:<key>") when the key is missing or of another kind.
  double number(const std::string& key) const;
  double number_or(const std::string& key, double fallback) const;
  std::string string_or(const std::string& key, const std::string& fallback) const;
  // One number for each of `count` layers; a single number stands for all of them.
  std::vector<int64_t> per_layer(const std::string& key, int64_t count) const;

  std::string source;  // for messages
};

// Throws Error(kModelCorrupt | kModelUnsupported, "<source>" or "<source>:<name>", ...). The tensors point into `file`.
GgufFile parse_gguf(std::span<const uint8_t> file, const std::string& source);

}  // namespace espalier

// JSON from files that may come from anywhere: strict parsing, and typed access whose errors name the field.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "espalier/cancel.h"
#include "espalier/error.h"

namespace espalier {

using Json = nlohmann::json;

// The largest contents of a document: the memory and time of its reader depend on them, not on the bytes of the file alone.
struct JsonLimits {
  size_t values;  // in the whole document, with those inside of others
  size_t keys;    // in one object
};
// A description that people write. Few keys, since it is also read with their order kept, where each key is compared with all before.
constexpr JsonLimits kConfigLimits{1 << 18, 1 << 10};
// A table that a program writes: a vocabulary, the tensors of a model.
constexpr JsonLimits kTableLimits{1 << 22, 1 << 22};

// Refuses documents that the JSON grammar allows but that are ambiguous or harmful: duplicate keys, invalid UTF-8, nesting beyond 64
// levels, more than `limits` allow (kFileTooLarge). Takes time in proportion to the text. `source` (a file name) becomes the error's field.
// Throws Error(kCancelled) soon after `cancel` is set.
Json parse_json(std::string_view text, ErrorCode corrupt, const std::string& source, const JsonLimits& limits,
                const std::atomic<bool>& cancel = kNeverCancelled);

// One object of a document. An absent field and an explicit null are the same. `path` is its dotted name in errors.
class JsonObject {
 public:
  JsonObject(const Json& node, std::string path, ErrorCode corrupt);

  const Json* find(const char* key) const;                               // nullptr when absent or null
  bool contains(const char* key) const { return node_->contains(key); }  // null counts
  std::string path_of(const std::string& key) const { return path_ + "." + key; }

  int64_t integer(const char* key, int64_t min, int64_t max) const;
  int64_t integer_or(const char* key, int64_t min, int64_t max, int64_t fallback) const;
  double number(const char* key, double min, double max) const;  // bounds included
  double number_or(const char* key, double min, double max, double fallback) const;
  bool boolean_or(const char* key, bool fallback) const;
  std::optional<std::string> string(const char* key) const;
  std::vector<int64_t> integers(const char* key, int64_t min, int64_t max, size_t count_max) const;
  std::optional<JsonObject> object(const char* key) const;

  [[noreturn]] void fail(const std::string& key, const std::string& message) const;  // with the `corrupt` code

 private:
  const Json* node_;
  std::string path_;
  ErrorCode corrupt_;
};

// A value for a message, cut short.
std::string json_excerpt(const Json& value);

}  // namespace espalier

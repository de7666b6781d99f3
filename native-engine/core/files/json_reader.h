// Reads JSON from files of any origin: strict parsing, and typed access whose errors name the field.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "espalier/base/cancel.h"
#include "espalier/base/error.h"

namespace espalier {

using Json = nlohmann::json;

// The largest contents of a document. The memory and time of its reader depend on them, not only on the bytes of the file.
struct JsonLimits {
  size_t values;  // in the whole document, including nested values
  size_t keys;    // in one object
};
// For a description that people write. It may have few keys, since it is also read with their order kept, and then each key is compared
// with all before it.
constexpr JsonLimits kConfigLimits{1 << 18, 1 << 10};
// For a table that a program writes: a vocabulary, the tensors of a model.
constexpr JsonLimits kTableLimits{1 << 22, 1 << 22};

// Parses a document. Refuses documents that the JSON grammar allows but that are ambiguous or harmful: duplicate keys, invalid UTF-8,
// nesting beyond 64 levels, more than `limits` allow (kFileTooLarge). The time is proportional to the text. `source` (a file name) becomes
// the error's field. Throws Error(kCancelled) soon after `cancel` is set.
Json parse_json(std::string_view text, ErrorCode corrupt, const std::string& source, const JsonLimits& limits,
                const std::atomic<bool>& cancel = kNeverCancelled);

// One object of a document. An absent field and an explicit null count as the same. `path` is its dotted name in errors.
class JsonObject {
 public:
  JsonObject(const Json& node, std::string path, ErrorCode corrupt);

  const Json* find(const char* key) const;                               // nullptr where it is absent or null
  bool contains(const char* key) const { return node_->contains(key); }  // true for a null, too
  std::string path_of(const std::string& key) const { return path_ + "." + key; }

  int64_t integer(const char* key, int64_t min, int64_t max) const;
  int64_t integer_or(const char* key, int64_t min, int64_t max, int64_t fallback) const;
  double number(const char* key, double min, double max) const;  // min and max are allowed
  double number_or(const char* key, double min, double max, double fallback) const;
  bool boolean_or(const char* key, bool fallback) const;
  std::optional<std::string> string(const char* key) const;
  std::vector<int64_t> integers(const char* key, int64_t min, int64_t max, size_t count_max) const;
  std::optional<JsonObject> object(const char* key) const;

  [[noreturn]] void fail(const std::string& key, const std::string& message) const;  // throws with the `corrupt` code

 private:
  const Json* node_;
  std::string path_;
  ErrorCode corrupt_;
};

// Returns a value as text for a message, cut short.
std::string json_excerpt(const Json& value);

}  // namespace espalier

// Reads JavaScript arguments. Every type and range is checked, and an error names the field.
#pragma once
#include <napi.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace espalier::addon {

class JsObject {
 public:
  // Throws Error(kInvalidArgument, path) unless `value` is an object.
  JsObject(const Napi::Value& value, std::string path);

  bool has(const char* key) const;  // a field that is undefined or null counts as absent
  std::string string(const char* key) const;
  bool boolean(const char* key) const;
  int64_t integer(const char* key, int64_t min, int64_t max) const;  // a number without fraction
  uint64_t unsigned64(const char* key) const;                        // a bigint from 0 to 2^64 - 1
  double number(const char* key) const;                              // finite
  std::optional<double> optional_number(const char* key) const;
  std::vector<double> numbers(const char* key) const;  // an array or Float64Array of finite numbers
  std::vector<std::string> strings(const char* key) const;
  JsObject object(const char* key) const;
  std::vector<JsObject> objects(const char* key) const;
  std::vector<uint8_t> bytes(const char* key) const;   // Uint8Array, copied
  std::vector<uint32_t> words(const char* key) const;  // Uint32Array, copied
  std::vector<std::string> keys() const;               // the object's own fields and inherited ones
  // Reads a string that must be one of `words`, which are pairs of an allowed word and its value. Returns that value.
  template <typename Words>
  auto choice(const char* key, const Words& words) const {
    const std::string given = string(key);
    std::string allowed;
    for (const auto& [word, value] : words) {
      if (given == word) return value;
      allowed += (allowed.empty() ? "\"" : "\", \"") + std::string(word);
    }
    fail(key, "one of " + allowed + "\"");
  }
  std::string path_of(const char* key) const { return path_.empty() ? key : path_ + "." + key; }

  [[noreturn]] void fail(const char* key, const std::string& allowed) const;

 private:
  Napi::Value get(const char* key) const;

  Napi::Object object_;
  std::string path_;
};

}  // namespace espalier::addon

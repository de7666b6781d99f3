// The key-value part of a GGUF file, version 3, little-endian. Keys keep the order in which they are added.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace espalier {

constexpr uint32_t kGgufVersion = 3;
constexpr uint64_t kGgufAlignment = 32;

enum class GgufType : uint32_t { kU32 = 4, kI32 = 5, kF32 = 6, kBool = 7, kString = 8, kArray = 9 };

// Appends numbers and strings in the form in which GGUF stores them.
class GgufBytes {
 public:
  template <class Number>
  void number(Number value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  void string(const std::string& text) {
    number(static_cast<uint64_t>(text.size()));
    bytes_ += text;
  }
  void align() { bytes_.resize((bytes_.size() + kGgufAlignment - 1) / kGgufAlignment * kGgufAlignment, '\0'); }
  void append(const std::string& bytes) { bytes_ += bytes; }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

class GgufMetadata {
 public:
  void add(const std::string& key, uint32_t value);
  void add(const std::string& key, float value);
  void add(const std::string& key, bool value);
  void add(const std::string& key, const std::string& value);
  void add(const std::string& key, const char* value) { add(key, std::string(value)); }
  void add(const std::string& key, const std::vector<int32_t>& values);
  void add(const std::string& key, const std::vector<float>& values);
  void add(const std::string& key, const std::vector<std::string>& values);

  uint64_t count() const { return count_; }
  const std::string& bytes() const { return out_.bytes(); }

 private:
  void begin(const std::string& key, GgufType type);
  void begin_array(const std::string& key, GgufType type, size_t size);

  GgufBytes out_;
  uint64_t count_ = 0;
};

}  // namespace espalier

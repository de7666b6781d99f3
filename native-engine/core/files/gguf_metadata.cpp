#include "files/gguf_metadata.h"

namespace espalier {

void GgufMetadata::begin(const std::string& key, GgufType type) {
  ++count_;
  out_.string(key);
  out_.number(static_cast<uint32_t>(type));
}

void GgufMetadata::begin_array(const std::string& key, GgufType type, size_t size) {
  begin(key, GgufType::kArray);
  out_.number(static_cast<uint32_t>(type));
  out_.number(static_cast<uint64_t>(size));
}

void GgufMetadata::add(const std::string& key, uint32_t value) {
  begin(key, GgufType::kU32);
  out_.number(value);
}

void GgufMetadata::add(const std::string& key, float value) {
  begin(key, GgufType::kF32);
  out_.number(value);
}

void GgufMetadata::add(const std::string& key, bool value) {
  begin(key, GgufType::kBool);
  out_.number(static_cast<uint8_t>(value));
}

void GgufMetadata::add(const std::string& key, const std::string& value) {
  begin(key, GgufType::kString);
  out_.string(value);
}

void GgufMetadata::add(const std::string& key, const std::vector<int32_t>& values) {
  begin_array(key, GgufType::kI32, values.size());
  for (const int32_t value : values) out_.number(value);
}

void GgufMetadata::add(const std::string& key, const std::vector<float>& values) {
  begin_array(key, GgufType::kF32, values.size());
  for (const float value : values) out_.number(value);
}

void GgufMetadata::add(const std::string& key, const std::vector<std::string>& values) {
  begin_array(key, GgufType::kString, values.size());
  for (const std::string& value : values) out_.string(value);
}

}  // namespace espalier

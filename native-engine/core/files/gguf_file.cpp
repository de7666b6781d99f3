#include "files/gguf_file.h"

#include <cstring>

#include "files/gguf_metadata.h"

namespace espalier {
namespace {

constexpr uint64_t kCountMax = 1 << 24;  // the most tensors, keys or array entries: far above any model's, far below what would do harm
constexpr int64_t kWidthMax = int64_t{1} << 31;

class Reader {
 public:
  Reader(std::span<const uint8_t> file, const std::string& source) : file_(file), source_(source) {}

  template <class Number>
  Number number() {
    Number value;
    std::memcpy(&value, take(sizeof(Number)), sizeof(Number));
    return value;
  }

  std::string string() {
    const uint64_t size = number<uint64_t>();
    return {reinterpret_cast<const char*>(take(size)), size};
  }

  uint64_t count() {
    const uint64_t value = number<uint64_t>();
    if (value > kCountMax) fail("counts " + std::to_string(value) + " entries");
    return value;
  }

  GgufValue value(uint32_t type) {
    if (type == static_cast<uint32_t>(GgufType::kString)) return string();
    if (type == static_cast<uint32_t>(GgufType::kArray)) return array();
    return scalar(type);
  }

  uint64_t position() const { return at_; }
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::kModelCorrupt, source_, source_ + " " + what + " at byte " + std::to_string(at_));
  }

 private:
  const uint8_t* take(uint64_t size) {
    if (size > file_.size() - at_) fail("ends too early");
    const uint8_t* start = file_.data() + at_;
    at_ += size;
    return start;
  }

  double scalar(uint32_t type) {
    switch (type) {
      case 0:
      case 7:
        return number<uint8_t>();
      case 1:
        return number<int8_t>();
      case 2:
        return number<uint16_t>();
      case 3:
        return number<int16_t>();
      case 4:
        return number<uint32_t>();
      case 5:
        return number<int32_t>();
      case 6:
        return static_cast<double>(number<float>());
      case 10:
        return static_cast<double>(number<uint64_t>());
      case 11:
        return static_cast<double>(number<int64_t>());
      case 12:
        return number<double>();
      default:
        fail("has a value of the unknown type " + std::to_string(type));
    }
  }

  std::vector<double> array() {
    const auto type = number<uint32_t>();
    const uint64_t size = count();
    if (type == static_cast<uint32_t>(GgufType::kArray)) fail("has an array of arrays");
    std::vector<double> out;
    for (uint64_t i = 0; i < size; ++i) {
      if (type == static_cast<uint32_t>(GgufType::kString)) {
        string();
      } else {
        out.push_back(scalar(type));
      }
    }
    return out;
  }

  std::span<const uint8_t> file_;
  const std::string& source_;
  uint64_t at_ = 0;
};

StoredType stored_type(uint32_t type, const std::string& field) {
  switch (type) {
    case 0:
      return StoredType::kF32;
    case 1:
      return StoredType::kF16;
    case 8:
      return StoredType::kQ8_0;
    case 30:
      return StoredType::kBF16;
    default:
      throw Error(ErrorCode::kModelUnsupported, field,
                  field + " has ggml's type " + std::to_string(type) + ": supported are F32, F16, BF16, Q8_0");
  }
}

}  // namespace

double GgufFile::number(const std::string& key) const {
  const auto found = metadata.find(key);
  if (found == metadata.end() || !std::holds_alternative<double>(found->second)) {
    throw Error(ErrorCode::kModelCorrupt, source + ":" + key, source + " has no number " + key);
  }
  return std::get<double>(found->second);
}

double GgufFile::number_or(const std::string& key, double fallback) const { return metadata.contains(key) ? number(key) : fallback; }

std::string GgufFile::string_or(const std::string& key, const std::string& fallback) const {
  const auto found = metadata.find(key);
  return found != metadata.end() && std::holds_alternative<std::string>(found->second) ? std::get<std::string>(found->second) : fallback;
}

std::vector<int64_t> GgufFile::per_layer(const std::string& key, int64_t count) const {
  const auto found = metadata.find(key);
  std::vector<double> values;
  if (found != metadata.end() && std::holds_alternative<std::vector<double>>(found->second)) {
    values = std::get<std::vector<double>>(found->second);
  } else {
    values.assign(static_cast<size_t>(count), number(key));
  }
  std::vector<int64_t> out;
  for (const double value : values) {
    if (!(value >= 0 && value < static_cast<double>(kWidthMax))) break;
    out.push_back(static_cast<int64_t>(value));
  }
  if (static_cast<int64_t>(out.size()) != count) {
    throw Error(ErrorCode::kModelCorrupt, source + ":" + key,
                source + ": " + key + " must have one width for each of the " + std::to_string(count) + " layers");
  }
  return out;
}

GgufFile parse_gguf(std::span<const uint8_t> file, const std::string& source) {
  GgufFile out;
  out.source = source;
  Reader reader(file, source);
  if (file.size() < 4 || std::memcmp(file.data(), "GGUF", 4) != 0) reader.fail("does not begin with GGUF");
  reader.number<uint32_t>();
  const auto version = reader.number<uint32_t>();
  if (version != kGgufVersion) {
    throw Error(ErrorCode::kModelUnsupported, source,
                source + " has GGUF version " + std::to_string(version) + ": supported is " + std::to_string(kGgufVersion));
  }
  const uint64_t tensor_count = reader.count(), key_count = reader.count();
  for (uint64_t i = 0; i < key_count; ++i) {
    const std::string key = reader.string();
    const auto type = reader.number<uint32_t>();
    out.metadata[key] = reader.value(type);
  }
  const auto alignment = static_cast<uint64_t>(out.number_or("general.alignment", kGgufAlignment));
  if (alignment == 0 || alignment > kCountMax) reader.fail("has an alignment of " + std::to_string(alignment));
  std::map<std::string, uint64_t> offsets;
  for (uint64_t i = 0; i < tensor_count; ++i) {
    const std::string name = reader.string();
    GgufTensor tensor;
    const auto dimensions = reader.number<uint32_t>();
    if (dimensions == 0 || dimensions > 2) reader.fail("has a tensor of " + std::to_string(dimensions) + " dimensions");
    for (uint32_t d = 0; d < dimensions; ++d) {
      const auto size = reader.number<int64_t>();
      if (size < 1 || size > kWidthMax) reader.fail("has a tensor of width " + std::to_string(size));
      tensor.shape.insert(tensor.shape.begin(), size);
    }
    tensor.type = stored_type(reader.number<uint32_t>(), source + ":" + name);
    offsets[name] = reader.number<uint64_t>();
    if (!out.tensors.emplace(name, tensor).second) reader.fail("has tensor " + name.substr(0, 200) + " twice");
  }
  const uint64_t data = (reader.position() + alignment - 1) / alignment * alignment;
  for (auto& [name, tensor] : out.tensors) {
    const auto cols = static_cast<size_t>(tensor.shape.back());
    const auto rows = static_cast<uint64_t>(tensor.shape.size() == 2 ? tensor.shape.front() : 1);
    const uint64_t row_bytes = stored_row_bytes(tensor.type, cols);
    const uint64_t at = offsets[name];
    if (data > file.size() || at > file.size() - data || row_bytes == 0 || rows > (file.size() - data - at) / row_bytes) {
      throw Error(ErrorCode::kModelCorrupt, source + ":" + name, source + ": tensor " + name + " reaches beyond the end of the file");
    }
    tensor.bytes = file.subspan(data + at, rows * row_bytes);
  }
  return out;
}

}  // namespace espalier

#include "files/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "files/json_reader.h"

namespace espalier {
namespace {

constexpr uint64_t kHeaderBytesMax = 100'000'000;  // the limit of the format's reference reader
constexpr size_t kRankMax = 8;
// The state of the deepest model has fewer tensors.
constexpr size_t kTensorsMax = 1 << 18;
constexpr JsonLimits kHeaderLimits{kTableLimits.values, kTensorsMax};

struct TypeInfo {
  TensorType type;
  const char* name;
  uint64_t size_bytes;
};

constexpr std::array<TypeInfo, 15> kTypes{{{TensorType::kBool, "BOOL", 1},
                                           {TensorType::kU8, "U8", 1},
                                           {TensorType::kI8, "I8", 1},
                                           {TensorType::kF8E4M3, "F8_E4M3", 1},
                                           {TensorType::kF8E5M2, "F8_E5M2", 1},
                                           {TensorType::kU16, "U16", 2},
                                           {TensorType::kI16, "I16", 2},
                                           {TensorType::kF16, "F16", 2},
                                           {TensorType::kBF16, "BF16", 2},
                                           {TensorType::kU32, "U32", 4},
                                           {TensorType::kI32, "I32", 4},
                                           {TensorType::kF32, "F32", 4},
                                           {TensorType::kU64, "U64", 8},
                                           {TensorType::kI64, "I64", 8},
                                           {TensorType::kF64, "F64", 8}}};

const TypeInfo& type_info(TensorType type) { return kTypes[static_cast<size_t>(type)]; }

// The place of a tensor in the file.
struct Placement {
  uint64_t begin = 0, end = 0;
  std::string name;
};

class HeaderReader {
 public:
  HeaderReader(std::span<const uint8_t> file, ErrorCode corrupt, const std::string& source, const std::atomic<bool>& cancel)
      : file_(file), corrupt_(corrupt), source_(source), cancel_(cancel) {}

  Safetensors read() {
    const Json header = parse_header();
    for (const auto& [name, node] : header.items()) {
      if (name == "__metadata__") {
        read_metadata(node);
      } else {
        read_tensor(name, node);
      }
    }
    check_placements();
    return std::move(result_);
  }

 private:
  [[noreturn]] void fail(const std::string& message) const { throw Error(corrupt_, source_, source_ + ": " + message); }
  [[noreturn]] void fail_tensor(const std::string& name, const std::string& message) const {
    const std::string shown = json_excerpt(Json(name));
    throw Error(corrupt_, source_ + ":" + name.substr(0, 200), source_ + ": tensor " + shown + ": " + message);
  }

  Json parse_header() {
    if (file_.size() < 8) {
      fail("has " + std::to_string(file_.size()) + " bytes; a safetensors file starts with 8 bytes of header length");
    }
    uint64_t length = 0;
    for (int i = 7; i >= 0; --i) length = length << 8 | file_[i];
    if (length > kHeaderBytesMax) {
      fail("header length is " + std::to_string(length) + " bytes; at most 100000000 are allowed");
    }
    if (length > file_.size() - 8) {
      fail("header length is " + std::to_string(length) + " bytes, but only " + std::to_string(file_.size() - 8) +
           " follow: the file is truncated or not safetensors");
    }
    data_ = file_.subspan(8 + length);
    const std::string_view text(reinterpret_cast<const char*>(file_.data()) + 8, length);
    Json header = parse_json(text, corrupt_, source_, kHeaderLimits, cancel_);
    if (!header.is_object()) fail("the header must be a JSON object, not " + json_excerpt(header));
    return header;
  }

  void read_metadata(const Json& node) {
    if (!node.is_object()) fail("__metadata__ must be an object of strings");
    for (const auto& [key, value] : node.items()) {
      if (!value.is_string()) fail("__metadata__." + key + " must be a string, not " + json_excerpt(value));
      result_.metadata[key] = value.get<std::string>();
    }
  }

  void read_tensor(const std::string& name, const Json& node) {
    if (!node.is_object()) fail_tensor(name, "must be an object with dtype, shape and data_offsets");
    for (const auto& [key, value] : node.items()) {
      if (key != "dtype" && key != "shape" && key != "data_offsets") {
        fail_tensor(name, "unknown key " + json_excerpt(Json(key)) + "; allowed are dtype, shape, data_offsets");
      }
    }
    TensorView view;
    view.type = read_type(name, node);
    const uint64_t size_bytes = read_shape(name, node, view);
    Placement place{0, 0, name};
    const auto offsets = node.find("data_offsets");
    if (offsets == node.end() || !offsets->is_array() || offsets->size() != 2 || !(*offsets)[0].is_number_unsigned() ||
        !(*offsets)[1].is_number_unsigned()) {
      fail_tensor(name, "data_offsets must be two non-negative integers [begin, end]");
    }
    place.begin = (*offsets)[0].get<uint64_t>();
    place.end = (*offsets)[1].get<uint64_t>();
    const std::string shown = "data_offsets [" + std::to_string(place.begin) + ", " + std::to_string(place.end) + "]";
    if (place.begin > place.end) fail_tensor(name, shown + " end before they begin");
    if (place.end > data_.size()) {
      fail_tensor(name, shown + " reach beyond the " + std::to_string(data_.size()) + " bytes of data in the file");
    }
    if (place.end - place.begin != size_bytes) {
      fail_tensor(name, shown + " hold " + std::to_string(place.end - place.begin) + " bytes, but shape " + shape_text(view.shape) +
                            " of " + tensor_type_name(view.type) + " needs " + std::to_string(size_bytes));
    }
    view.bytes = data_.subspan(place.begin, size_bytes);
    placements_.push_back(std::move(place));
    result_.tensors.emplace(name, std::move(view));
  }

  TensorType read_type(const std::string& name, const Json& node) const {
    const auto dtype = node.find("dtype");
    if (dtype == node.end() || !dtype->is_string()) fail_tensor(name, "dtype must be a string such as \"BF16\"");
    const std::string& text = dtype->get_ref<const std::string&>();
    for (const TypeInfo& info : kTypes) {
      if (text == info.name) return info.type;
    }
    std::string known;
    for (const TypeInfo& info : kTypes) known += std::string(known.empty() ? "" : ", ") + info.name;
    fail_tensor(name, "dtype " + json_excerpt(*dtype) + " is unknown; known are " + known);
  }

  // Fills view.shape and returns the tensor's size in bytes.
  uint64_t read_shape(const std::string& name, const Json& node, TensorView& view) const {
    const auto shape = node.find("shape");
    if (shape == node.end() || !shape->is_array() || shape->size() > kRankMax) {
      fail_tensor(name, "shape must be an array of at most 8 non-negative integers");
    }
    uint64_t size_bytes = tensor_type_bytes(view.type);
    for (const Json& extent : *shape) {
      if (!extent.is_number_unsigned() || extent.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
        fail_tensor(name, "shape holds " + json_excerpt(extent) + "; extents are non-negative integers");
      }
      view.shape.push_back(extent.get<int64_t>());
      // 2^62 keeps the product of any later extents and of the element count within int64.
      if (__builtin_mul_overflow(size_bytes, extent.get<uint64_t>(), &size_bytes) || size_bytes > (uint64_t{1} << 62)) {
        fail_tensor(name, "shape " + shape_text(view.shape) + " of " + tensor_type_name(view.type) + " is larger than any file");
      }
    }
    return size_bytes;
  }

  void check_placements() {
    std::sort(placements_.begin(), placements_.end(),
              [](const Placement& a, const Placement& b) { return a.begin != b.begin ? a.begin < b.begin : a.end < b.end; });
    uint64_t expected = 0;
    for (const Placement& place : placements_) {
      if (place.begin != expected) {
        fail_tensor(place.name, "data begins at byte " + std::to_string(place.begin) + ", but the tensor before it ends at " +
                                    std::to_string(expected) + ": tensors must neither overlap nor leave gaps");
      }
      expected = place.end;
    }
    if (expected != data_.size()) {
      fail("the tensors end at byte " + std::to_string(expected) + " of the data, but the file holds " + std::to_string(data_.size()) +
           " bytes of it");
    }
  }

  std::span<const uint8_t> file_, data_;
  ErrorCode corrupt_;
  const std::string& source_;
  const std::atomic<bool>& cancel_;
  std::vector<Placement> placements_;
  Safetensors result_;
};

}  // namespace

const char* tensor_type_name(TensorType type) { return type_info(type).name; }
uint64_t tensor_type_bytes(TensorType type) { return type_info(type).size_bytes; }

std::string shape_text(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

int64_t TensorView::elements() const { return static_cast<int64_t>(bytes.size() / tensor_type_bytes(type)); }

uint64_t TensorSpec::size_bytes() const {
  uint64_t size = tensor_type_bytes(type);
  for (const int64_t extent : shape) size *= static_cast<uint64_t>(extent);
  return size;
}

Safetensors parse_safetensors(std::span<const uint8_t> file, ErrorCode corrupt, const std::string& source,
                              const std::atomic<bool>& cancel) {
  return HeaderReader(file, corrupt, source, cancel).read();
}

std::string safetensors_header(const std::vector<TensorSpec>& specs, const std::map<std::string, std::string>& metadata) {
  std::string json = "{";
  if (!metadata.empty()) json += "\"__metadata__\":" + Json(metadata).dump();
  uint64_t offset = 0;
  for (const TensorSpec& spec : specs) {
    const uint64_t end = offset + spec.size_bytes();
    json += std::string(json.size() > 1 ? "," : "") + Json(spec.name).dump() + ":" + R"({"dtype":")" + tensor_type_name(spec.type) +
            R"(","shape":)" + Json(spec.shape).dump() + R"(,"data_offsets":[)" + std::to_string(offset) + "," + std::to_string(end) + "]}";
    offset = end;
  }
  json += "}";
  json.resize((json.size() + 7) / 8 * 8, ' ');
  std::string out(8, '\0');
  for (int i = 0; i < 8; ++i) out[i] = static_cast<char>(static_cast<uint64_t>(json.size()) >> (8 * i));
  return out + json;
}

}  // namespace espalier

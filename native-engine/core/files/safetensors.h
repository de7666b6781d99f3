// The safetensors container: 8 bytes little-endian header length, a JSON header, then the tensors' bytes without gaps.
#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/base/cancel.h"
#include "espalier/base/error.h"

namespace espalier {

enum class TensorType { kBool, kU8, kI8, kF8E4M3, kF8E5M2, kU16, kI16, kF16, kBF16, kU32, kI32, kF32, kU64, kI64, kF64 };

const char* tensor_type_name(TensorType type);  // the header's name: "F32", "BF16", ...
uint64_t tensor_type_bytes(TensorType type);    // the bytes of one element

// Returns the shape as "[2, 3]" for messages.
std::string shape_text(std::span<const int64_t> shape);

struct TensorView {
  TensorType type = TensorType::kF32;
  std::vector<int64_t> shape;
  std::span<const uint8_t> bytes;  // row-major, little-endian, of any alignment; not owned
  int64_t elements() const;
};

struct Safetensors {
  std::map<std::string, TensorView> tensors;
  std::map<std::string, std::string> metadata;
};

// Checks the header's length against the file's size and 100 MB, the JSON, duplicate names, at most 262,144 tensors, types, shapes and
// their product, and that the offsets lie within the file without gap or overlap. The views point into `file`. Throws Error(corrupt,
// "<source>" or "<source>:<tensor>", ...), Error(kFileTooLarge) and Error(kCancelled).
Safetensors parse_safetensors(std::span<const uint8_t> file, ErrorCode corrupt, const std::string& source,
                              const std::atomic<bool>& cancel = kNeverCancelled);

struct TensorSpec {
  std::string name;
  TensorType type = TensorType::kF32;
  std::vector<int64_t> shape;
  uint64_t size_bytes() const;
};

// Returns the first bytes of a file that holds `specs` in the given order: length field and header, padded with spaces so that the data
// starts at a multiple of 8. Equal arguments give equal bytes.
std::string safetensors_header(const std::vector<TensorSpec>& specs, const std::map<std::string, std::string>& metadata);

}  // namespace espalier

// Memory of a device as the host sees it: the host keeps addresses, adds offsets and passes them to ops, but never reads there.
#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "espalier/base/dtypes.h"

namespace espalier {

// The address of a T in a device's memory. It is not a pointer: only a backend can read the memory there.
template <class T>
class DevicePtr {
 public:
  DevicePtr() = default;
  DevicePtr(std::nullptr_t) {}
  explicit DevicePtr(uint64_t address) : address_(address) {}
  template <class U>
    requires std::is_convertible_v<U*, T*>
  DevicePtr(DevicePtr<U> other) : address_(other.address()) {}

  explicit operator bool() const { return address_ != 0; }
  bool operator==(const DevicePtr&) const = default;
  DevicePtr operator+(int64_t count) const { return DevicePtr(address_ + static_cast<uint64_t>(count) * sizeof(T)); }
  // The same address as that of another type.
  template <class U>
  DevicePtr<U> as() const {
    return DevicePtr<U>(address_);
  }
  uint64_t address() const { return address_; }  // only backends call this

 private:
  uint64_t address_ = 0;
};

inline constexpr int64_t kWidthMultiple = 16;
inline int64_t padded_width(int64_t n, int64_t multiple = kWidthMultiple) { return (n + multiple - 1) / multiple * multiple; }
inline int64_t dtype_bytes(DType t) { return t == DType::kF32 ? 4 : 2; }

// A matrix in device memory, which it does not own. stride: the elements from one row to the next.
struct Tensor {
  DevicePtr<std::byte> data;
  DType dtype = DType::kF32;
  int64_t rows = 0, cols = 0, stride = 0;

  explicit operator bool() const { return static_cast<bool>(data); }
  Tensor columns(int64_t from, int64_t count) const { return {data + from * dtype_bytes(dtype), dtype, rows, count, stride}; }
  Tensor row_range(int64_t from, int64_t count) const { return {data + from * stride * dtype_bytes(dtype), dtype, count, cols, stride}; }
  // Returns the same memory as a dense matrix of another shape. The buffer must be large enough.
  Tensor reshaped(int64_t r, int64_t c) const { return {data, dtype, r, c, c}; }
};

// A read-only matrix on the device in the form in which a file stores it: row-major, dense, at any address.
struct StoredMatrix {
  DevicePtr<const std::byte> data;
  DType dtype = DType::kBF16;
  int64_t rows = 0, cols = 0;

  explicit operator bool() const { return static_cast<bool>(data); }
};

// Owns device memory and gives it back to its backend when it is destroyed, so the backend must live longer.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(class Backend* owner, DevicePtr<std::byte> data, uint64_t bytes) : owner_(owner), data_(data), bytes_(bytes) {}
  ~DeviceBuffer();
  DeviceBuffer(DeviceBuffer&& other) noexcept { *this = std::move(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(owner_, other.owner_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  DevicePtr<std::byte> data() const { return data_; }
  uint64_t bytes() const { return bytes_; }

 private:
  Backend* owner_ = nullptr;  // nullptr where this object does not own the memory
  DevicePtr<std::byte> data_;
  uint64_t bytes_ = 0;
};

// Owns host memory from which a device copies while the host goes on. The backend must live longer.
class HostBuffer {
 public:
  HostBuffer() = default;
  HostBuffer(class Backend* owner, std::byte* data, uint64_t bytes) : owner_(owner), data_(data), bytes_(bytes) {}
  ~HostBuffer();
  HostBuffer(HostBuffer&& other) noexcept { *this = std::move(other); }
  HostBuffer& operator=(HostBuffer&& other) noexcept {
    std::swap(owner_, other.owner_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  std::byte* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }

 private:
  Backend* owner_ = nullptr;
  std::byte* data_ = nullptr;
  uint64_t bytes_ = 0;
};

}  // namespace espalier

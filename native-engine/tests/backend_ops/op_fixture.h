// The fixture of all tests of ops: device memory with a host image, on every backend that is registered.
//
// How to test an op (HACKING.md says how to add one): fill Buffers and Lists, which uploads them, run the op, and compare the results with
// a plain loop in double. Reading a Buffer or a List downloads it. Use odd sizes, padded widths, every stored dtype, each optional part
// with and without, and each overlap that the contract allows. expect_untouched_outside() finds writes beyond a tensor. A new backend gets
// all of these tests when it is registered.
#pragma once
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <set>
#include <vector>

#include "device/registry.h"
#include "espalier/base/error.h"

namespace espalier::test {

// Tests read single values in their innermost loops. They are compiled at -O1, at which GCC calls a function for each of these reads unless
// it must inline them.

// Returns cap * tanh(x / cap); 0 stands for no cap.
inline double capped(double x, double cap) { return cap > 0 ? cap * std::tanh(x / cap) : x; }

// A backend, and how many ops ran on it. Values that were read before the last op are stale.
class Device {
 public:
  explicit Device(const BackendSpec& spec) : backend_(make_backend(spec)) {}
  template <class Op>
  void run(const Op& op) {
    backend_->run(op);
    ops_++;
  }
  Backend& backend() { return *backend_; }
  [[gnu::always_inline]] int64_t ops() const { return ops_; }

 private:
  std::unique_ptr<Backend> backend_;
  int64_t ops_ = 0;
};

// Bytes on the device with an image on the host. A copy has its own memory with the same bytes.
class Memory {
 public:
  Memory(Device& device, std::vector<char> bytes) : device_(&device), bytes_(std::move(bytes)) {
    buffer_ = device_->backend().allocate(bytes_.size());
    upload_now<char>(device_->backend(), buffer_.data().as<char>(), bytes_);
    seen_ = device_->ops();
  }
  Memory(const Memory& other) : Memory(*other.device_, other.bytes()) {}
  Memory(Memory&&) = default;

  DevicePtr<std::byte> data() const { return buffer_.data(); }
  [[gnu::always_inline]] const std::vector<char>& bytes() const {
    if (seen_ != device_->ops()) [[unlikely]]
      renew();
    return bytes_;
  }

 private:
  [[gnu::noinline]] void renew() const {
    device_->backend().download(bytes_.data(), buffer_.data(), bytes_.size());
    seen_ = device_->ops();
  }

  Device* device_;
  DeviceBuffer buffer_;
  mutable std::vector<char> bytes_;
  mutable int64_t seen_ = 0;
};

// A matrix on the device. The padding between rows is NaN, and a pattern behind the matrix must survive every op.
class Buffer {
 public:
  // Makes a matrix: f(row, col) in the columns below `filled`, zeros from there to `cols`, and padding in the rest of the stride.
  template <class F>
  Buffer(Device& device, DType type, int64_t rows, int64_t cols, int64_t filled, F&& f)
      : type_(type), rows_(rows), cols_(cols), memory_(device, fill(type, rows, cols, filled, f)) {}
  Buffer(Device& device, DType type, int64_t rows, int64_t cols)
      : Buffer(device, type, rows, cols, cols, [](int64_t, int64_t) { return std::numeric_limits<float>::quiet_NaN(); }) {}

  const std::vector<char>& bytes() const { return memory_.bytes(); }
  Tensor tensor() const { return {memory_.data(), type_, rows_, cols_, stride_of(cols_)}; }
  [[gnu::always_inline]] double get(int64_t i, int64_t j) const {
    const char* const first = memory_.bytes().data();
    const int64_t at = i * stride_of(cols_) + j;
    if (type_ == DType::kF32) {
      float v;
      std::memcpy(&v, first + at * 4, 4);
      return v;
    }
    uint16_t high;
    std::memcpy(&high, first + at * 2, 2);
    return std::bit_cast<float>(uint32_t{high} << 16);
  }
  // Checks to the bit that the guard bytes behind the buffer and the padding between the rows are unchanged.
  void expect_untouched_outside() const {
    const std::vector<char>& bytes = memory_.bytes();
    for (int64_t i = 0; i < kGuard; i++) ASSERT_EQ(bytes[bytes.size() - kGuard + i], 0x5a) << "byte " << i << " behind the buffer";
    for (int64_t i = 0; i < rows_; i++)
      for (int64_t j = cols_; j < stride_of(cols_); j++) {
        const char* at = bytes.data() + (i * stride_of(cols_) + j) * dtype_bytes(type_);
        ASSERT_EQ(std::memcmp(at, padding(type_), dtype_bytes(type_)), 0) << "padding at " << i << "," << j;
      }
  }

 private:
  static constexpr int64_t kGuard = 256;
  // A signalling NaN as f32, and as bf16 in its last two bytes. Every value that is computed from it has other bits.
  static constexpr std::array<char, 4> kPadding{0x25, 0x25, static_cast<char>(0xa5), 0x7f};
  static const char* padding(DType type) { return kPadding.data() + kPadding.size() - dtype_bytes(type); }
  [[gnu::always_inline]] static int64_t stride_of(int64_t cols) { return cols + 16; }

  template <class F>
  static std::vector<char> fill(DType type, int64_t rows, int64_t cols, int64_t filled, F& f) {
    std::vector<char> bytes(rows * stride_of(cols) * dtype_bytes(type) + kGuard, static_cast<char>(0x5a));
    for (int64_t i = 0; i < rows; i++)
      for (int64_t j = 0; j < stride_of(cols); j++) {
        char* at = bytes.data() + (i * stride_of(cols) + j) * dtype_bytes(type);
        if (j < cols)
          put(at, type, j < filled ? static_cast<float>(f(i, j)) : 0.0f);
        else
          std::memcpy(at, padding(type), dtype_bytes(type));
      }
    return bytes;
  }
  static void put(char* at, DType type, float v) {
    if (type == DType::kF32) {
      std::memcpy(at, &v, 4);
      return;
    }
    uint32_t u;
    std::memcpy(&u, &v, 4);
    const auto h = static_cast<uint16_t>(std::isnan(v) ? 0x7fc0 : (u + 0x7fff + (u >> 16 & 1)) >> 16);
    std::memcpy(at, &h, 2);
  }

  DType type_;
  int64_t rows_, cols_;
  Memory memory_;
};

// A list of values such as scales, indices and sums.
template <class T>
class List {
 public:
  List(Device& device, const std::vector<T>& values)
      : size_(values.size()),
        memory_(device, {reinterpret_cast<const char*>(values.data()), reinterpret_cast<const char*>(values.data() + values.size())}) {}
  List(Device& device, int64_t size, T value = {}) : List(device, std::vector<T>(static_cast<size_t>(size), value)) {}

  DevicePtr<T> data() const { return memory_.data().as<T>(); }
  [[gnu::always_inline]] T operator[](size_t i) const {
    T v;
    std::memcpy(&v, memory_.bytes().data() + i * sizeof(T), sizeof(T));
    return v;
  }
  const std::vector<char>& bytes() const { return memory_.bytes(); }
  size_t size() const { return size_; }

 private:
  size_t size_;
  Memory memory_;
};

// Makes deterministic values in [-scale, scale].
struct Random {
  std::mt19937 engine;
  float scale;
  explicit Random(uint32_t seed, float s = 1.0f) : engine(seed), scale(s) {}
  float operator()(int64_t = 0, int64_t = 0) { return scale * (2.0f * static_cast<float>(engine() >> 8) / 16777216.0f - 1.0f); }
};

inline std::vector<float> random_floats(int64_t n, uint32_t seed, float scale = 1.0f) {
  Random r(seed, scale);
  std::vector<float> v(n);
  for (float& x : v) x = r();
  return v;
}

// The relative error of a whole result, ||a - b|| / ||b||.
struct ErrorSum {
  double difference = 0, reference = 0;
  void add(double a, double b) {
    difference += std::isnan(a) ? INFINITY : (a - b) * (a - b);
    reference += b * b;
  }
  double relative() const { return reference > 0 ? std::sqrt(difference / reference) : std::sqrt(difference); }
};

struct OpCase {
  BackendSpec spec;
  DType type;
  // f32 results are rounded sums; bf16 results are rounded to 8 bits on the way.
  double tolerance() const { return type == DType::kF32 ? 2e-6 : 6e-3; }
};

// Makes a case for every set of kernels of every device that can be used, in both compute dtypes, with three threads of the host. Devices
// of one model compute alike, so only the first of them is tested.
inline std::vector<OpCase> op_cases() {
  std::vector<OpCase> cases;
  for (const BackendKind* kind : backend_kinds()) {
    const std::vector<DeviceDescription> devices = kind->devices();
    std::set<std::string> models;
    for (size_t i = 0; i < devices.size(); i++)
      for (const std::string& kernels :
           devices[i].problem.empty() && models.insert(devices[i].model).second ? devices[i].kernels : std::vector<std::string>{})
        for (DType t : {DType::kF32, DType::kBF16}) cases.push_back({{kind->name(), static_cast<int>(i), 3, kernels}, t});
  }
  return cases;
}

inline std::string case_name(const testing::TestParamInfo<OpCase>& info) {
  const BackendSpec& s = info.param.spec;
  std::string name = s.name + std::to_string(s.device) + "_" + s.kernels + (info.param.type == DType::kF32 ? "_f32" : "_bf16");
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}

class OpTest : public testing::TestWithParam<OpCase> {
 protected:
  OpTest() : device(GetParam().spec) {}
  DType type() const { return GetParam().type; }
  double tolerance() const { return GetParam().tolerance(); }
  // Returns the tolerance of sums in f32 of `depth` products. In bf16 a card's tensor cores cut off the sum after each block of eight or
  // more products (cuda_emulator/tensor_cores/tensor_core.h), always towards zero, so the error grows with the number of blocks. On the
  // emulated A100 it is 6.3e-6 for 4,700 products and 1.1e-5 for 9,300. Twice as much is allowed.
  double sum_tolerance(int64_t depth) const {
    constexpr double kRounded = 4e-6;
    return host_computes() || type() == DType::kF32 ? kRounded : std::max(kRounded, static_cast<double>(depth) / 24 * 0x1p-24);
  }
  // Tells whether threads of the host do the work. Sizes that test how threads share the work prove nothing on other devices.
  static bool host_computes() { return !kind_of(GetParam().spec).has_own_memory(); }
  // Returns the same device with another number of host threads.
  static BackendSpec with_threads(int threads) {
    BackendSpec spec = GetParam().spec;
    spec.threads = threads;
    return spec;
  }
  Device device;
};

}  // namespace espalier::test

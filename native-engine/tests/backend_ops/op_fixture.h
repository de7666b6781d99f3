// Buffers for op tests: padding between rows is NaN, what lies behind a buffer is a pattern that must survive.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "cpu_backend.h"

namespace espalier::test {

class Buffer {
 public:
  // Values of `f(row, col)` for cols below `filled`, zeros from there to cols, NaN in the rest of the stride.
  template <class F>
  Buffer(DType type, int64_t rows, int64_t cols, int64_t filled, F&& f) : stride_(cols + 16) {
    bytes_.assign(rows * stride_ * dtype_bytes(type) + kGuard, static_cast<char>(0x5a));
    tensor = {bytes_.data(), type, rows, cols, stride_};
    for (int64_t i = 0; i < rows; i++)
      for (int64_t j = 0; j < stride_; j++)
        set(i, j, j >= cols ? std::numeric_limits<float>::quiet_NaN() : j < filled ? static_cast<float>(f(i, j)) : 0.0f);
  }
  Buffer(DType type, int64_t rows, int64_t cols)
      : Buffer(type, rows, cols, cols, [](int64_t, int64_t) { return std::numeric_limits<float>::quiet_NaN(); }) {}

  void set(int64_t i, int64_t j, float v) {
    char* at = bytes_.data() + (i * stride_ + j) * dtype_bytes(tensor.dtype);
    if (tensor.dtype == DType::kF32) {
      std::memcpy(at, &v, 4);
      return;
    }
    uint32_t u;
    std::memcpy(&u, &v, 4);
    const auto h = static_cast<uint16_t>(std::isnan(v) ? 0x7fc0 : (u + 0x7fff + (u >> 16 & 1)) >> 16);
    std::memcpy(at, &h, 2);
  }
  double get(int64_t i, int64_t j) const {
    const char* at = bytes_.data() + (i * stride_ + j) * dtype_bytes(tensor.dtype);
    uint32_t u = 0;
    if (tensor.dtype == DType::kF32)
      std::memcpy(&u, at, 4);
    else
      std::memcpy(reinterpret_cast<char*>(&u) + 2, at, 2);
    float v;
    std::memcpy(&v, &u, 4);
    return v;
  }
  // Guard bytes behind the buffer and NaN between the rows are as they were.
  void expect_untouched_outside() const {
    for (int64_t i = 0; i < kGuard; i++) ASSERT_EQ(bytes_[bytes_.size() - kGuard + i], 0x5a) << "byte " << i << " behind the buffer";
    for (int64_t i = 0; i < tensor.rows; i++)
      for (int64_t j = tensor.cols; j < stride_; j++) ASSERT_TRUE(std::isnan(get(i, j))) << "padding at " << i << "," << j;
  }

  void* data() { return bytes_.data(); }

  Tensor tensor;  // after a copy it still shows the original: set it anew

 private:
  static constexpr int64_t kGuard = 256;
  int64_t stride_;
  std::vector<char> bytes_;
};

// Deterministic values in [-scale, scale].
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

// Relative error of a whole result, ||a - b|| / ||b||.
struct ErrorSum {
  double difference = 0, reference = 0;
  void add(double a, double b) {
    difference += std::isnan(a) ? INFINITY : (a - b) * (a - b);
    reference += b * b;
  }
  double relative() const { return reference > 0 ? std::sqrt(difference / reference) : std::sqrt(difference); }
};

struct OpCase {
  const cpu::Kernels* kernels;
  DType type;
  // f32 results are rounded sums; bf16 ones are rounded to 8 bits on the way.
  double tolerance() const { return type == DType::kF32 ? 2e-6 : 6e-3; }
};

// Every instruction set of this processor, in both compute dtypes.
inline std::vector<OpCase> op_cases() {
  std::vector<OpCase> cases;
  for (const cpu::Kernels* k : cpu::available_kernels())
    for (DType t : {DType::kF32, DType::kBF16}) cases.push_back({k, t});
  return cases;
}

inline std::string case_name(const testing::TestParamInfo<OpCase>& info) {
  return std::string(info.param.kernels->name) + (info.param.type == DType::kF32 ? "_f32" : "_bf16");
}

class OpTest : public testing::TestWithParam<OpCase> {
 protected:
  OpTest() : backend(3, *GetParam().kernels) {}
  DType type() const { return GetParam().type; }
  double tolerance() const { return GetParam().tolerance(); }
  cpu::CpuBackend backend;
};

}  // namespace espalier::test

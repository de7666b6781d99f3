// Tests single instructions against their documentation, on the emulator and on a card where there is one.
#include "cuda/probes.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

#include "cuda_emulator/tensor_cores/tensor_core.h"
#include "files/number_formats.h"

namespace espalier::test {

class Instructions : public testing::TestWithParam<const Probes*> {
 protected:
  void SetUp() override {
    if (!GetParam()->usable()) GTEST_SKIP() << "no card that can be used";
  }
  std::mt19937 random{7};
  std::vector<float> integers(int count) {
    std::vector<float> values(count);
    for (float& v : values) v = static_cast<float>(static_cast<int>(random() % 31) - 15);
    return values;
  }
};
const Probes* const kTargets[] = {&cuda::emulated::probes
#ifdef ESPALIER_WITH_CUDA
                                  ,
                                  &cuda::gpu::probes
#endif
};
INSTANTIATE_TEST_SUITE_P(All, Instructions, testing::ValuesIn(kTargets), [](const auto& info) { return info.param->name; });

TEST_P(Instructions, MultiplyAddsProductsOfBf16) {
  const auto a = integers(16 * 16), b = integers(16 * 8), c = integers(16 * 8);
  const auto got = GetParam()->multiply(a, b, c);
  for (int i = 0; i < 16; i++)
    for (int j = 0; j < 8; j++) {
      float expected = c[i * 8 + j];
      for (int k = 0; k < 16; k++) expected += a[i * 16 + k] * b[k * 8 + j];
      EXPECT_EQ(got[i * 8 + j], expected) << i << "," << j;
    }
}

TEST_P(Instructions, FactorsOfZerosAddNothingToNumbersAlone) {
  const std::vector<float> c = integers(16 * 8), no_a(16 * 16, 0.0f), no_b(16 * 8, -0.0f);
  std::vector<float> a = integers(16 * 16), b = integers(16 * 8);
  EXPECT_EQ(GetParam()->multiply(no_a, b, c), c);
  EXPECT_EQ(GetParam()->multiply(a, no_b, c), c);
  a[2 * 16 + 7] = NAN;
  b[5 * 8 + 3] = INFINITY;
  const auto beside_infinity = GetParam()->multiply(no_a, b, c), beside_nan = GetParam()->multiply(a, no_b, c);
  for (int i = 0; i < 16; i++)
    for (int j = 0; j < 8; j++) {
      if (j == 3)
        EXPECT_TRUE(std::isnan(beside_infinity[i * 8 + j])) << i;
      else
        EXPECT_EQ(beside_infinity[i * 8 + j], c[i * 8 + j]) << i << "," << j;
      if (i == 2)
        EXPECT_TRUE(std::isnan(beside_nan[i * 8 + j])) << j;
      else
        EXPECT_EQ(beside_nan[i * 8 + j], c[i * 8 + j]) << i << "," << j;
    }
}

// The values have many magnitudes, so that any two ways of adding them give different sums. The tolerances of products on cards follow from
// this model.
TEST_P(Instructions, SumsAreCutOffAsModelled) {
  using cuda::emulator::TensorCore;
  const auto [major, minor] = GetParam()->capability();
  if (major > 9) GTEST_SKIP() << "no model of the tensor cores of a card of compute capability " << major << "." << minor << " is here";
  const auto sizes = [&](int count) {
    std::vector<float> values(count);
    for (float& v : values)
      v = bf16_to_f32(f32_to_bf16(std::ldexp(static_cast<float>(random() % 511) - 255.0f, static_cast<int>(random() % 24) - 20)));
    return values;
  };
  for (int turn = 0; turn < 50; turn++) {
    const auto a = sizes(16 * 16), b = sizes(16 * 8), c = sizes(16 * 8);
    const auto got = GetParam()->multiply(a, b, c);
    for (int i = 0; i < 16; i++)
      for (int j = 0; j < 8; j++) {
        cuda::emulator::Factors row, column;
        for (int k = 0; k < 16; k++) row.values[k] = a[i * 16 + k], column.values[k] = b[k * 8 + j];
        row.set_exponents();
        column.set_exponents();
        const float expected = add_products(major == 9 ? TensorCore::kH100 : TensorCore::kA100, c[i * 8 + j], row, column);
        ASSERT_EQ(got[i * 8 + j], expected) << "turn " << turn << ": " << i << "," << j;
      }
  }
}

TEST_P(Instructions, LoadMatricesHandsOutPairs) {
  std::vector<uint16_t> values(256);
  for (uint16_t i = 0; i < 256; i++) values[i] = i;
  for (const bool transposed : {false, true}) {
    const auto got = GetParam()->load_matrices(values, transposed);
    for (int lane = 0; lane < 32; lane++)
      for (int m = 0; m < 4; m++) {
        const int i = lane / 4, j = 2 * (lane % 4);
        const uint32_t first = transposed ? j * 8 + i : i * 8 + j, second = transposed ? (j + 1) * 8 + i : i * 8 + j + 1;
        EXPECT_EQ(got[lane * 4 + m], (m * 64 + first) | (m * 64 + second) << 16) << lane << "," << m;
      }
  }
}

TEST_P(Instructions, CopyAsyncFillsWithZeros) {
  std::vector<uint8_t> values(512);
  for (int i = 0; i < 512; i++) values[i] = static_cast<uint8_t>(i % 251 + 1);
  for (const int bytes : {16, 4, 0}) {
    const auto got = GetParam()->copy(values, bytes);
    for (int i = 0; i < 512; i++) EXPECT_EQ(got[i], i % 16 < bytes ? values[i] : 0) << i;
  }
}

TEST_P(Instructions, RoundingToBf16IsToNearestEven) {
  std::vector<float> values{0.0f, -0.0f, 1.0f, INFINITY, -INFINITY, 3.4e38f, 1e-40f, 1.00390625f, 1.01171875f};
  for (int i = 0; i < 4000; i++) values.push_back(std::bit_cast<float>(static_cast<uint32_t>(random())));
  const auto got = GetParam()->to_bf16(values);
  for (size_t i = 0; i < values.size(); i++)
    EXPECT_EQ(got[i], std::isnan(values[i]) ? 0x7fff : f32_to_bf16(values[i])) << std::bit_cast<uint32_t>(values[i]);
}

TEST_P(Instructions, LanesOfAWarpSeeEachOther) {
  const auto values = integers(32);
  float sum = 0;
  uint32_t negative = 0;
  for (int l = 0; l < 32; l++) sum += values[l], negative |= static_cast<uint32_t>(values[l] < 0) << l;
  EXPECT_EQ(GetParam()->warp_sum(values), std::vector<float>(32, sum));
  EXPECT_EQ(GetParam()->negative(values), std::vector<uint32_t>(32, negative));
}

}  // namespace espalier::test

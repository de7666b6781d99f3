#include "files/number_formats.h"

#include <gtest/gtest.h>

#include <cmath>

namespace espalier {
namespace {

// Returns the value that the format's definition gives, computed from the fields in double.
double f16_by_definition(uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == 31) return mantissa ? NAN : sign * INFINITY;
  return sign * (exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25));
}

TEST(NumberFormats, EveryF16ValueGoesThereAndBack) {
  for (int bits = 0; bits < 65536; ++bits) {
    const float value = f16_to_f32(static_cast<uint16_t>(bits));
    const double expected = f16_by_definition(static_cast<uint16_t>(bits));
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << bits;
      ASSERT_TRUE(std::isnan(f16_to_f32(f32_to_f16(value)))) << bits;
    } else {
      ASSERT_EQ(static_cast<double>(value), expected) << bits;
      ASSERT_EQ(std::signbit(value), (bits & 0x8000) != 0) << bits;
      ASSERT_EQ(f32_to_f16(value), bits);
    }
  }
}

TEST(NumberFormats, F16RoundsToNearestEven) {
  for (int bits = 0; bits < 0x7bff; ++bits) {  // visits every pair of neighbours, from zero through the subnormals to the largest
    const double low = f16_by_definition(static_cast<uint16_t>(bits));
    const double high = f16_by_definition(static_cast<uint16_t>(bits + 1));
    const auto middle = static_cast<float>((low + high) / 2);
    ASSERT_EQ(f32_to_f16(middle), bits % 2 == 0 ? bits : bits + 1) << bits;
    ASSERT_EQ(f32_to_f16(std::nextafterf(middle, 0.0f)), bits) << bits;
    ASSERT_EQ(f32_to_f16(std::nextafterf(middle, 1e9f)), bits + 1) << bits;
  }
  EXPECT_EQ(f32_to_f16(65519.996f), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(-1e30f), 0xfc00);
}

TEST(NumberFormats, Bf16RoundsToNearestEven) {
  for (int bits = 0; bits < 0x7f7f; ++bits) {
    const float low = bf16_to_f32(static_cast<uint16_t>(bits)), high = bf16_to_f32(static_cast<uint16_t>(bits + 1));
    ASSERT_EQ(f32_to_bf16(low), bits);
    const auto middle = static_cast<float>((static_cast<double>(low) + high) / 2);
    ASSERT_EQ(f32_to_bf16(middle), bits % 2 == 0 ? bits : bits + 1) << bits;
  }
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(NAN))));
  EXPECT_EQ(bf16_to_f32(f32_to_bf16(-INFINITY)), -INFINITY);
}

}  // namespace
}  // namespace espalier

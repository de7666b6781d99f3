// Dropout of LoRA's input against its definition, value by value. Every device keeps the same values.
#include "method/philox.h"
#include "op_fixture.h"

namespace espalier::test {

class DropoutOps : public testing::TestWithParam<OpCase> {
 protected:
  static constexpr int64_t kRows = 37, kFull = 203, kFirstRow = 5, kStep = (int64_t{1} << 33) + 7;
  static constexpr uint64_t kSeed = 0x123456789abcdef0;
  static constexpr uint32_t kStream = static_cast<uint32_t>(RandomStream::kLoraDropout) + 23;

  Device device{GetParam().spec};

  LoraDropout op(const Buffer& x, const Buffer& out, double probability) const {
    LoraDropout op;
    op.x = x.tensor();
    op.out = out.tensor();
    op.in_full = kFull;
    op.seed = kSeed;
    op.step = kStep;
    op.stream = kStream;
    op.first_row = kFirstRow;
    op.probability = probability;
    return op;
  }

  static bool stays(int64_t row, int64_t column, double probability) {
    const auto words = random_words(kSeed, kStep, kStream, (kFirstRow + row) * ((kFull + 3) / 4) + column / 4);
    return words[column % 4] >= probability * 4294967296.0;
  }
};

TEST_P(DropoutOps, ValuesStayByRowAndColumnOfTheWholeModel) {
  constexpr double kProbability = 0.3;
  std::vector<int32_t> open;
  for (int32_t c = 0; c < kFull; c++)
    if (c % 3 != 1 && (c < 60 || c > 150)) open.push_back(c);  // leaves a gap of more than 64 columns
  const auto count = static_cast<int64_t>(open.size()), width = padded_width(count);
  open.resize(width, -1);
  const List<int32_t> cols(device, open);
  for (const bool accumulate : {false, true}) {
    const Buffer x(device, GetParam().type, kRows, width, count, Random(3));
    const Buffer before(device, GetParam().type, kRows, width, count, Random(4)), out = before;
    LoraDropout run = op(x, out, kProbability);
    run.accumulate = accumulate;
    run.cols = cols.data();
    device.run(run);
    int64_t kept = 0;
    for (int64_t n = 0; n < kRows; n++)
      for (int64_t j = 0; j < width; j++) {
        const bool stay = j < count && stays(n, open[j], kProbability);
        const double dropped = stay ? x.get(n, j) / (1.0 - kProbability) : 0.0, expected = (accumulate ? before.get(n, j) : 0.0) + dropped;
        ASSERT_NEAR(out.get(n, j), expected, 1e-6 + GetParam().tolerance() * std::abs(expected)) << n << "," << j;
        kept += stay;
      }
    EXPECT_NEAR(static_cast<double>(kept) / static_cast<double>(kRows * count), 1.0 - kProbability, 0.03);
    out.expect_untouched_outside();
  }
}

TEST_P(DropoutOps, AGradientGoesBackIntoTheComputeType) {
  const int64_t width = padded_width(kFull);
  const Buffer x(device, DType::kF32, kRows, width, kFull, Random(5)), out(device, GetParam().type, kRows, width, kFull, Random(6)),
      before = out;
  LoraDropout run = op(x, out, 0.5);
  run.accumulate = true;
  device.run(run);
  for (int64_t n = 0; n < kRows; n++)
    for (int64_t j = 0; j < kFull; j++) {
      const double expected = before.get(n, j) + (stays(n, j, 0.5) ? 2.0 * x.get(n, j) : 0.0);
      ASSERT_NEAR(out.get(n, j), expected, 1e-6 + GetParam().tolerance() * std::abs(expected));
    }
}

TEST_P(DropoutOps, NothingIsDroppedWithProbabilityZero) {
  const int64_t width = padded_width(kFull);
  const Buffer x(device, GetParam().type, kRows, width, kFull, Random(7)), out(device, GetParam().type, kRows, width);
  device.run(op(x, out, 0));
  for (int64_t n = 0; n < kRows; n++)
    for (int64_t j = 0; j < width; j++) ASSERT_EQ(out.get(n, j), x.get(n, j));
  EXPECT_THROW(device.run(op(x, out, 1)), Error);
  EXPECT_THROW(device.run(op(x, x, 0.1)), Error);
}

INSTANTIATE_TEST_SUITE_P(All, DropoutOps, testing::ValuesIn(op_cases()), case_name);

}  // namespace espalier::test

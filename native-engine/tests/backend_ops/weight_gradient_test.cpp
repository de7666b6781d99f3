// Tests the ops that compute the gradients of whole weights, each against its definition in double.
#include "op_fixture.h"

namespace espalier::test {

class WeightGradientOps : public testing::TestWithParam<OpCase> {
 protected:
  Device device{GetParam().spec};
};

TEST_P(WeightGradientOps, ATransposedMatrixEndsInZeros) {
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{37, 80}, {1, 16}, {64, 33}, {130, 16}}) {
    const Buffer from(device, GetParam().type, rows, cols, cols, Random(11)), to(device, GetParam().type, cols, padded_width(rows));
    device.run(Transpose{to.tensor(), from.tensor()});
    for (int64_t j = 0; j < cols; j++)
      for (int64_t n = 0; n < padded_width(rows); n++) ASSERT_EQ(to.get(j, n), n < rows ? from.get(n, j) : 0.0) << j << "," << n;
    to.expect_untouched_outside();
  }
}

TEST_P(WeightGradientOps, AProductWithATransposedMatrixIsAWeightsGradient) {
  constexpr int64_t kRows = 150, kOut = 48, kIn = 80;
  const Buffer dy(device, GetParam().type, kRows, kOut, kOut - 3, Random(1)), x(device, GetParam().type, kRows, kIn, kIn, Random(2));
  const Buffer turned(device, GetParam().type, kOut, padded_width(kRows));
  const std::vector<float> before = [] {
    std::vector<float> values(kOut * kIn);
    for (size_t i = 0; i < values.size(); i++) values[i] = static_cast<float>(i % 7) - 3.0f;
    return values;
  }();
  // A selection reads dense rows, so x is copied into the layout of a layer's activations.
  std::vector<float> dense(kRows * kIn);
  for (int64_t n = 0; n < kRows; n++)
    for (int64_t j = 0; j < kIn; j++) dense[n * kIn + j] = static_cast<float>(x.get(n, j));
  const List<float> stored(device, dense);
  const List<float> gradient(device, before);
  device.run(Transpose{turned.tensor(), dy.tensor()});
  Product product;
  product.c = {gradient.data().as<std::byte>(), DType::kF32, kOut, kIn, kIn};
  product.accumulate = true;
  product.by_shape = true;
  product.add(turned.tensor(),
              {{stored.data().as<const std::byte>(), DType::kF32, kRows, kIn}, padded_width(kRows), kIn, nullptr, nullptr});
  device.run(product);

  for (int64_t i = 0; i < kOut; i++)
    for (int64_t j = 0; j < kIn; j++) {
      double sum = before[i * kIn + j], size = 1;
      for (int64_t n = 0; n < kRows; n++) {
        sum += dy.get(n, i) * x.get(n, j);
        size += std::abs(dy.get(n, i) * x.get(n, j));
      }
      ASSERT_NEAR(gradient[i * kIn + j], sum, 2e-6 * size) << i << "," << j;
    }
}

TEST_P(WeightGradientOps, ColumnsAreSummedWithTheirScalesAndFolded) {
  constexpr int64_t kRows = 613, kCols = 96;
  for (const DType b_type : {DType::kF32, GetParam().type})
    for (const int64_t fold : {kCols, kCols / 3})
      for (const bool scaled : {false, true})
        for (const bool with_b : {false, true}) {
          const Buffer a(device, GetParam().type, kRows, kCols, kCols - 5, Random(21)), b(device, b_type, kRows, kCols, kCols, Random(22));
          std::vector<float> rows(kRows), columns(kCols), start(fold);
          for (int64_t n = 0; n < kRows; n++) rows[n] = 0.5f + static_cast<float>(n % 13) / 13.0f;
          for (int64_t j = 0; j < kCols; j++) columns[j] = 1.5f - static_cast<float>(j) / kCols;
          for (int64_t j = 0; j < fold; j++) start[j] = static_cast<float>(j);
          const List<float> row_scale(device, rows), column_scale(device, columns);
          const List<float> out(device, start);
          ColumnDot op;
          op.a = a.tensor();
          if (with_b) op.b = b.tensor();
          if (scaled) op.row_scale = row_scale.data(), op.column_scale = column_scale.data();
          op.fold = fold;
          op.out = out.data();
          device.run(op);

          for (int64_t j = 0; j < fold; j++) {
            double sum = start[j], size = 1;
            for (int64_t column = j; column < kCols; column += fold)
              for (int64_t n = 0; n < kRows; n++) {
                const double term = a.get(n, column) * (with_b ? b.get(n, column) : 1.0) * (scaled ? rows[n] * columns[column] : 1.0);
                sum += term;
                size += std::abs(term);
              }
            ASSERT_NEAR(out[j], sum, 1e-6 * size) << j << " of " << fold;
          }
        }
}

TEST_P(WeightGradientOps, RowsOfEqualTokensAddUpInTheEmbedding) {
  constexpr int64_t kRows = 41, kCols = 32, kVocab = 9;
  std::vector<int32_t> ids(kRows);
  for (int64_t n = 0; n < kRows; n++) ids[n] = static_cast<int32_t>(n * n % (kVocab - 1));
  std::vector<float> scales(kCols);
  for (int64_t j = 0; j < kCols; j++) scales[j] = 0.25f + static_cast<float>(j) / kCols;
  const List<int32_t> tokens(device, ids);
  const List<float> scale(device, scales);
  for (const bool scaled : {false, true}) {
    const Buffer dx(device, DType::kF32, kRows, kCols, kCols, Random(31)), before(device, DType::kF32, kVocab, kCols, kCols, Random(32)),
        table = before;
    device.run(EmbedGradient{dx.tensor(), table.tensor(), tokens.data(), scaled ? scale.data() : DevicePtr<const float>()});
    for (int64_t v = 0; v < kVocab; v++)
      for (int64_t j = 0; j < kCols; j++) {
        double sum = before.get(v, j);
        for (int64_t n = 0; n < kRows; n++)
          if (ids[n] == v) sum += dx.get(n, j) * (scaled ? scales[j] : 1.0);
        ASSERT_NEAR(table.get(v, j), sum, 1e-5) << v << "," << j;
      }
    table.expect_untouched_outside();
  }
}

INSTANTIATE_TEST_SUITE_P(All, WeightGradientOps, testing::ValuesIn(op_cases()), case_name);

}  // namespace espalier::test

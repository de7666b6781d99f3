// Products of stored weights, LoRA and attention against plain double loops.
#include <compare>
#include <map>
#include <utility>

#include "files/number_formats.h"
#include "op_fixture.h"

namespace espalier::test {

class MatrixOps : public OpTest {};
INSTANTIATE_TEST_SUITE_P(All, MatrixOps, testing::ValuesIn(op_cases()), case_name);

std::vector<int32_t> every_third_closed(int64_t full, int64_t padded) {
  std::vector<int32_t> index;
  for (int32_t i = 0; i < full; i++)
    if (i % 3 != 1) index.push_back(i);
  index.resize(padded, -1);
  return index;
}

// A stored matrix of any dtype, at an address without any alignment.
struct Stored {
  std::vector<double> values;
  List<uint8_t> memory;
  StoredMatrix view;

  Stored(Device& device, DType type, int64_t rows, int64_t cols, uint32_t seed, float scale = 1.0f, int64_t offset = 1)
      : values(rows * cols), memory(device, encoded(type, values, seed, scale, offset)) {
    view = {(memory.data() + offset).as<const std::byte>(), type, rows, cols};
  }
  // Makes a factor of LoRA: its parameters are floats that are aligned to 4 bytes.
  static Stored factor(Device& device, int64_t rows, int64_t cols, uint32_t seed) {
    return Stored(device, DType::kF32, rows, cols, seed, 1.0f, 4);
  }
  double at(int64_t r, int64_t c, float scale = 1.0f) const {
    return r < 0 || c < 0 || r >= view.rows || c >= view.cols ? 0.0 : scale * values[r * view.cols + c];
  }

 private:
  static std::vector<uint8_t> encoded(DType type, std::vector<double>& values, uint32_t seed, float scale, int64_t offset) {
    std::vector<uint8_t> bytes(values.size() * dtype_bytes(type) + offset);
    Random random(seed, scale);
    for (size_t i = 0; i < values.size(); i++) {
      encode(random(), type, bytes.data() + offset + i * dtype_bytes(type));
      values[i] = decode(bytes.data() + offset, type, static_cast<int64_t>(i));
    }
    return bytes;
  }
};

// Multiplies by a weight that has lists in both dimensions and by a narrow pair of factors beside it, like LoRA's. The result is scaled by
// column and added to earlier values. Both orientations are tested.
TEST_P(MatrixOps, ProductOfTermsWithListsAndScales) {
  constexpr int64_t kM = 37, kOutFull = 101, kOut = 80, kInFull = 233, kIn = 96, kRank = 5, kNarrow = 6;
  const auto out_list = every_third_closed(kOutFull, kOut);
  // The columns lie near each other and, from some place on, far apart; the last column is the last of the matrix.
  std::vector<int32_t> in_list;
  for (int32_t j = 0; j < kInFull; j++)
    if (j < 100 ? j % 3 != 1 : j % 7 == 1) in_list.push_back(j);
  in_list.push_back(kInFull - 1);
  ASSERT_LE(static_cast<int64_t>(in_list.size()), kIn);
  in_list.resize(kIn, -1);
  const List<float> scale(device, random_floats(kOut, 4));
  const List<int32_t> outs(device, out_list), ins(device, in_list);
  for (const DType stored : {DType::kF32, DType::kBF16, DType::kF16})
    for (const bool transposed : {true, false}) {
      const Stored w(device, stored, transposed ? kOutFull : kInFull, transposed ? kInFull : kOutFull, 5);
      const Stored factor(device, DType::kF32, transposed ? kOutFull : kRank, transposed ? kRank : kOutFull, 6, 1e-3f);
      Buffer x(device, type(), kM, kIn, kIn, Random(7)), narrow(device, type(), kM, kNarrow, kRank, Random(8)),
          c(device, DType::kF32, kM, kOut, kOut, Random(9)), plain(device, type(), kM, kOut);
      const Buffer before = c;
      Product op;
      op.transposed = transposed;
      if (transposed) {
        op.add(x.tensor(), {w.view, kOut, kIn, outs.data(), ins.data()});
        op.add(narrow.tensor(), {factor.view, kOut, kNarrow, outs.data(), nullptr, 0.7f});
      } else {
        op.add(x.tensor(), {w.view, kIn, kOut, ins.data(), outs.data()});
        op.add(narrow.tensor(), {factor.view, kNarrow, kOut, nullptr, outs.data(), 0.7f});
      }
      op.c = plain.tensor();
      device.run(op);
      op.c = c.tensor();
      op.accumulate = true;
      op.column_scale = scale.data();
      device.run(op);
      ErrorSum first, second;
      for (int64_t n = 0; n < kM; n++)
        for (int64_t j = 0; j < kOut; j++) {
          const auto value = [&](const Stored& s, int64_t k, float by) {
            return transposed ? s.at(out_list[j], k, by) : s.at(k, out_list[j], by);
          };
          double sum = 0;
          for (int64_t k = 0; k < kIn; k++) sum += x.get(n, k) * value(w, in_list[k], 1.0f);
          for (int64_t k = 0; k < kNarrow; k++) sum += narrow.get(n, k) * value(factor, k, 0.7f);
          first.add(plain.get(n, j), sum);
          second.add(c.get(n, j), before.get(n, j) + scale[j] * sum);
        }
      EXPECT_LT(first.relative(), tolerance()) << "stored " << static_cast<int>(stored) << " transposed " << transposed;
      EXPECT_LT(second.relative(), tolerance()) << "stored " << static_cast<int>(stored) << " transposed " << transposed;
      for (const Buffer* b : {&c, &plain}) b->expect_untouched_outside();
    }
}

// A term that is a thousand times smaller than a rounding step of the weight beside it must reach the result in full.
TEST_P(MatrixOps, ASmallTermIsNotLostInALargeOne) {
  constexpr int64_t kM = 9, kOut = 32, kIn = 64, kRank = 8;
  const Stored w(device, DType::kBF16, kOut, kIn, 10), factor(device, DType::kF32, kOut, kRank, 11, 1e-6f);
  Buffer x(device, type(), kM, kIn, kIn, Random(12)), narrow(device, type(), kM, kRank, kRank, Random(13)),
      with(device, DType::kF32, kM, kOut), without(device, DType::kF32, kM, kOut);
  Product op;
  op.transposed = true;
  op.c = without.tensor();
  op.add(x.tensor(), {w.view, kOut, kIn, nullptr, nullptr});
  device.run(op);
  op.c = with.tensor();
  op.add(narrow.tensor(), {factor.view, kOut, kRank, nullptr, nullptr});
  device.run(op);
  double along = 0, squares = 0;
  for (int64_t n = 0; n < kM; n++)
    for (int64_t j = 0; j < kOut; j++) {
      double small = 0;
      for (int64_t k = 0; k < kRank; k++) small += narrow.get(n, k) * factor.at(j, k);
      along += (with.get(n, j) - without.get(n, j)) * small;
      squares += small * small;
    }
  EXPECT_NEAR(along / squares, 1.0, 0.1);
}

struct ProductSize {
  int64_t m, n, k;

  auto operator<=>(const ProductSize&) const = default;
  // Calls f(i, j) for the values of the result that are compared. Those of large results are a sample.
  template <class F>
  void each_compared(F&& f) const {
    for (int64_t i = 0; i < m; i++)
      for (int64_t j = 0; j < n; j += 1 + k / 1000)
        if ((i * n + j) % (1 + m * n / 20000) == 0) f(i, j);
  }
};

// The sums of both orientations in double. The factors of a size are the same on every device, so their sums are computed once in a
// process.
struct ProductSums {
  std::vector<double> forth, back;

  static const ProductSums& of(DType type, const ProductSize& z, const Buffer& a, const Stored& bt, const Stored& b) {
    static std::map<std::pair<DType, ProductSize>, ProductSums> known;
    ProductSums& sums = known[{type, z}];
    if (!sums.forth.empty()) return sums;
    z.each_compared([&](int64_t i, int64_t j) {
      double x = 0, y = 0;
      for (int64_t k = 0; k < z.k; k++) x += a.get(i, k) * bt.values[j * z.k + k], y += a.get(i, k) * b.values[k * z.n + j];
      sums.forth.push_back(x);
      sums.back.push_back(y);
    });
    return sums;
  }
};

// Checks both orientations of one product, written plainly and added to f32 sums.
void check_product(Device& device, DType type, const ProductSize& z, double tolerance, double sum_tolerance) {
  const int64_t stride = z.k + 2;
  Buffer a(device, type, z.m, stride, z.k, Random(8)), c(device, type, z.m, z.n), sum(device, DType::kF32, z.m, z.n, z.n, Random(11));
  const Stored bt(device, type, z.n, z.k, 9), b(device, type, z.k, z.n, 10);
  const Buffer before = sum;
  Product forth, back;
  const List<float> scale(device, random_floats(z.n, 12));
  forth.c = c.tensor();
  forth.transposed = true;
  forth.column_scale = scale.data();
  forth.add(a.tensor().columns(0, z.k), {bt.view, z.n, z.k, nullptr, nullptr});
  device.run(forth);
  back.c = sum.tensor();
  back.accumulate = true;
  back.add(a.tensor().columns(0, z.k), {b.view, z.k, z.n, nullptr, nullptr});
  device.run(back);
  ErrorSum plain, accumulated;
  const ProductSums& expected = ProductSums::of(type, z, a, bt, b);
  size_t at = 0;
  z.each_compared([&](int64_t i, int64_t j) {
    plain.add(c.get(i, j), scale[j] * expected.forth[at]);
    accumulated.add(sum.get(i, j), before.get(i, j) + expected.back[at++]);
  });
  EXPECT_LT(plain.relative(), tolerance) << z.m << " " << z.n << " " << z.k;
  EXPECT_LT(accumulated.relative(), sum_tolerance) << z.m << " " << z.n << " " << z.k;
  c.expect_untouched_outside();
  sum.expect_untouched_outside();
}

// The sizes have several groups of panels, a last panel and a last vector that are not full, depths beyond one pass, more threads than
// columns, and rows enough for threads that share panels and for tiles in more than one group.
TEST_P(MatrixOps, ProductsOfEveryWidthAndDepth) {
  for (const ProductSize z :
       {ProductSize{1, 1, 2}, ProductSize{37, 48, 32}, ProductSize{7, 70, 48}, ProductSize{23, 203, 130}, ProductSize{5, 33, 4700},
        ProductSize{13, 16, 9300}, ProductSize{50, 1300, 520}, ProductSize{391, 203, 130}, ProductSize{1101, 83, 18}})
    check_product(device, type(), z, tolerance(), sum_tolerance(z.k));
  if (!host_computes()) return;
  for (const ProductSize z : {ProductSize{385, 33, 4700}, ProductSize{400, 1300, 520}})
    check_product(device, type(), z, tolerance(), sum_tolerance(z.k));
  Device two_by_two(with_threads(4));  // two pairs of threads, each of which shares panels
  check_product(two_by_two, type(), {300, 203, 130}, tolerance(), sum_tolerance(130));
}

// Cards compute a product of at least 128 tiles of 128 x 128 by other tiles than smaller ones. This product has 12 x 11 tiles, of which the
// last ones are not full. The emulated card would take a minute for them; it computes such tiles in smaller products (CudaProduct).
TEST_P(MatrixOps, ProductsOfManyTiles) {
  if (GetParam().spec.name != "cuda") GTEST_SKIP() << "for cards";
  const ProductSize z{1430, 1290, 200};
  check_product(device, type(), z, tolerance(), sum_tolerance(z.k));
}

// A row of a large product is computed in the same way wherever it lies: first or last in a tile or a block.
TEST_P(MatrixOps, ARowOfALargeProductDoesNotDependOnTheRowsBesideIt) {
  if (!host_computes()) GTEST_SKIP() << "a card chooses its tiles by the number of rows";
  constexpr int64_t kM = 150, kN = 83, kK = 218;
  const Buffer a(device, type(), kM, kK, kK, Random(41));
  const Stored b(device, type(), kN, kK, 42);
  const auto rows = [&](int64_t first, int64_t count) {
    Buffer c(device, DType::kF32, count, kN);
    Product op;
    op.c = c.tensor();
    op.transposed = true;
    op.add(a.tensor().row_range(first, count), {b.view, kN, kK, nullptr, nullptr});
    device.run(op);
    return c;
  };
  const Buffer all = rows(0, kM);
  for (const int64_t first : {1, 15, 16, 31, 33, 64, 120}) {
    const Buffer some = rows(first, kM - first);
    for (int64_t i = 0; i < kM - first; i++)
      for (int64_t j = 0; j < kN; j++) ASSERT_EQ(some.get(i, j), all.get(first + i, j)) << first << " " << i << " " << j;
  }
}

// Products that may go to a library where the device has one (Product::by_shape), in each form that a step uses, with the least rows and
// columns for which a library is taken. LoRA's narrow activations lie apart from the wide ones or beside them. In the forward pass, the
// narrow activations of another projection may lie between the two.
TEST_P(MatrixOps, ProductsByShapeInEveryForm) {
  constexpr int64_t kM = 264, kN = 136;
  const List<float> scale(device, random_floats(kN, 31));
  const Buffer apart_wide(device, type(), kM, 99, 99, Random(32)), apart_narrow(device, type(), kM, 6, 6, Random(33));
  const Buffer together(device, type(), kM, 112, 112, Random(37));
  for (int form = 0; form < 64; form++) {
    const bool transposed = form & 1, in_f32 = form & 2, accumulate = form & 4, scaled = form & 8, lora = form & 16, beside = form & 32;
    if ((accumulate && !in_f32) || (beside && !lora)) continue;
    const int64_t depth = beside ? 96 : 99, rank = beside ? 8 : 6, narrow_at = beside ? depth + (transposed ? rank : 0) : 0;
    const Buffer &a = beside ? together : apart_wide, &narrow = beside ? together : apart_narrow;
    const Stored b(device, type(), transposed ? kN : depth, transposed ? depth : kN, 34, 1.0f, 0);
    const Stored factor(device, DType::kF32, transposed ? kN : rank, transposed ? rank : kN, 35, 1.0f, 0);
    Buffer c(device, in_f32 ? DType::kF32 : type(), kM, kN, kN, Random(36));
    const Buffer before = c;
    Product op;
    op.c = c.tensor();
    op.transposed = transposed;
    op.accumulate = accumulate;
    op.by_shape = true;
    if (scaled) op.column_scale = scale.data();
    op.add(a.tensor().columns(0, depth), {b.view, b.view.rows, b.view.cols, nullptr, nullptr});
    if (lora) op.add(narrow.tensor().columns(narrow_at, rank), {factor.view, factor.view.rows, factor.view.cols, nullptr, nullptr, 0.5f});
    device.run(op);
    ErrorSum error;
    for (int64_t i = 0; i < kM; i += 7)
      for (int64_t j = 0; j < kN; j++) {
        double sum = 0;
        for (int64_t k = 0; k < depth; k++) sum += a.get(i, k) * (transposed ? b.at(j, k) : b.at(k, j));
        for (int64_t k = 0; lora && k < rank; k++)
          sum += narrow.get(i, narrow_at + k) * (transposed ? factor.at(j, k, 0.5f) : factor.at(k, j, 0.5f));
        error.add(c.get(i, j), (scaled ? scale[j] : 1.0) * sum + (accumulate ? before.get(i, j) : 0));
      }
    EXPECT_LT(error.relative(), tolerance()) << "form " << form;
    c.expect_untouched_outside();
  }
}

// The matrices and some of their rows begin at a multiple of 16 bytes, where kernels read several values at a time.
TEST_P(MatrixOps, ProductsOfStoredTypesAtAlignedAddresses) {
  constexpr int64_t kM = 20;
  for (const DType stored : {DType::kF32, DType::kBF16, DType::kF16})
    for (const bool transposed : {true, false})
      for (const auto& [out, in] : {std::pair<int64_t, int64_t>{48, 80}, {44, 37}}) {
        const Stored w(device, stored, transposed ? out : in, transposed ? in : out, 5, 1.0f, 0);
        Buffer x(device, type(), kM, in, in, Random(7)), c(device, DType::kF32, kM, out);
        Product op;
        op.c = c.tensor();
        op.transposed = transposed;
        op.add(x.tensor(), {w.view, w.view.rows, w.view.cols, nullptr, nullptr, 0.75f});
        device.run(op);
        ErrorSum error;
        for (int64_t n = 0; n < kM; n++)
          for (int64_t j = 0; j < out; j++) {
            double sum = 0;
            for (int64_t k = 0; k < in; k++) sum += x.get(n, k) * (transposed ? w.at(j, k, 0.75f) : w.at(k, j, 0.75f));
            error.add(c.get(n, j), sum);
          }
        EXPECT_LT(error.relative(), tolerance()) << "stored " << static_cast<int>(stored) << " transposed " << transposed;
      }
}

// Tests one x for all factors, and one x for each; ranks that need padding; and more columns than a vector has.
TEST_P(MatrixOps, LoraNarrowProductsBothWays) {
  constexpr int64_t kRows = 133, kInFull = 53, kOutFull = 35, kIn = 48, kOut = 32;
  const auto col_list = every_third_closed(kInFull, kIn), row_list = every_third_closed(kOutFull, kOut);
  const List<int32_t> cols(device, col_list), rows(device, row_list);
  for (const int64_t rank : {1, 3, 8, 20, 31, 32, 37, 64, 101, 128}) {
    const int64_t stride = narrow_width(rank);
    Buffer x(device, type(), kRows, kIn, kIn, Random(14)), forward(device, type(), kRows, 3 * stride),
        backward(device, type(), kRows, 3 * stride);
    LoraNarrow forth{forward.tensor(), rank, true, 3, {}}, back{backward.tensor(), rank, false, 3, {}};
    std::vector<Buffer> dy;
    std::vector<Stored> a, b;
    for (uint32_t i = 0; i < 3; i++) {
      dy.emplace_back(device, type(), kRows, kOut, kOut, Random(15 + i));
      a.push_back(Stored::factor(device, rank, kInFull, 20 + i));
      b.push_back(Stored::factor(device, kOutFull, rank, 25 + i));
    }
    for (int i = 0; i < 3; i++) {
      forth.terms[i] = {x.tensor(), {a[i].view, stride, kIn, nullptr, cols.data()}};
      back.terms[i] = {dy[i].tensor(), {b[i].view, kOut, stride, rows.data(), nullptr}};
    }
    device.run(forth);
    device.run(back);
    ErrorSum there, here;
    for (int64_t n = 0; n < kRows; n++)
      for (int i = 0; i < 3; i++)
        for (int64_t k = 0; k < stride; k++) {
          double h = 0, g = 0;
          for (int64_t j = 0; k < rank && j < kIn; j++) h += x.get(n, j) * a[i].at(k, col_list[j]);
          for (int64_t j = 0; k < rank && j < kOut; j++) g += dy[i].get(n, j) * b[i].at(row_list[j], k);
          there.add(forward.get(n, i * stride + k), h);
          here.add(backward.get(n, i * stride + k), g);
        }
    EXPECT_LT(there.relative(), tolerance()) << "rank " << rank;
    EXPECT_LT(here.relative(), tolerance()) << "rank " << rank;
    for (const Buffer* one : {&forward, &backward}) one->expect_untouched_outside();
  }
}

TEST_P(MatrixOps, LoraGradientsOfThreeProjections) {
  constexpr int64_t kInFull = 53, kOutFull = 35;
  const auto col_list = every_third_closed(kInFull, 48), row_list = every_third_closed(kOutFull, 32);
  const List<int32_t> cols(device, col_list), rows(device, row_list);
  for (const auto& [rank, kRows] : std::vector<std::pair<int64_t, int64_t>>{{1, 133},
                                                                            {3, 133},
                                                                            {8, 133},
                                                                            {11, 133},
                                                                            {16, 133},
                                                                            {20, 133},
                                                                            {31, 133},
                                                                            {32, 133},
                                                                            {37, 133},
                                                                            {64, 133},
                                                                            {101, 133},
                                                                            {128, 133},
                                                                            {3, 611},
                                                                            {8, 1023},
                                                                            {33, 1023},
                                                                            {64, 611},
                                                                            {11, 769},
                                                                            {8, 1}}) {
    const int64_t stride = narrow_width(rank);
    const auto padded = [&](Random random) {
      return Buffer(device, type(), kRows, 3 * stride, 3 * stride, [&](int64_t, int64_t j) { return j % stride < rank ? random() : 0.0f; });
    };
    const Buffer x(device, type(), kRows, 48, 35, Random(12)), x_narrow = padded(Random(30)), dy_narrow = padded(Random(31));
    std::vector<Buffer> dy;
    std::vector<List<float>> da, db;
    LoraGradient op{x.tensor(), x_narrow.tensor(), dy_narrow.tensor(), cols.data(), kInFull, rank, 0.7f, 3, {}};
    for (uint32_t i = 0; i < 3; i++) {
      dy.emplace_back(device, type(), kRows, 32, 23, Random(15 + i));
      da.emplace_back(device, rank * kInFull, 77.0f);
      db.emplace_back(device, kOutFull * rank, 77.0f);
    }
    for (int i = 0; i < 3; i++) op.outputs[i] = {dy[i].tensor(), rows.data(), da[i].data(), db[i].data(), kOutFull};
    device.run(op);
    ErrorSum a_error, b_error;
    for (int p = 0; p < 3; p++)
      for (int64_t k = 0; k < rank; k++) {
        for (int64_t j = 0; j < 48; j++) {
          double g = 0;
          for (int64_t n = 0; n < kRows; n++) g += dy_narrow.get(n, p * stride + k) * x.get(n, j);
          if (col_list[j] >= 0) a_error.add(da[p][k * kInFull + col_list[j]], 0.7f * g);
        }
        for (int64_t i = 0; i < 32; i++) {
          double g = 0;
          for (int64_t n = 0; n < kRows; n++) g += x_narrow.get(n, p * stride + k) * dy[p].get(n, i);
          if (row_list[i] >= 0) b_error.add(db[p][row_list[i] * rank + k], 0.7f * g);
        }
        EXPECT_EQ(da[p][k * kInFull + 1], 77.0f) << "closed columns are left alone";
        EXPECT_EQ(db[p][1 * rank + k], 77.0f);
      }
    // Both factors are already rounded, so only the sums add errors.
    EXPECT_LT(a_error.relative(), 2e-6) << "rank " << rank;
    EXPECT_LT(b_error.relative(), 2e-6) << "rank " << rank;
  }
}

// The matrices have more columns than a block of any kernel takes at a time.
TEST_P(MatrixOps, LoraGradientsOfWideMatrices) {
  constexpr int64_t kRows = 521, kIn = 304, kOut = 272, kRank = 20;
  const int64_t stride = narrow_width(kRank);
  const Buffer x(device, type(), kRows, kIn, kIn, Random(12)), dy(device, type(), kRows, kOut, kOut, Random(13)),
      x_narrow(device, type(), kRows, stride, kRank, Random(30)), dy_narrow(device, type(), kRows, stride, kRank, Random(31));
  const List<float> da(device, kRank * kIn), db(device, kOut * kRank);
  LoraGradient op{x.tensor(), x_narrow.tensor(), dy_narrow.tensor(), nullptr, kIn, kRank, 0.7f, 1, {}};
  op.outputs[0] = {dy.tensor(), nullptr, da.data(), db.data(), kOut};
  device.run(op);
  ErrorSum a_error, b_error;
  for (int64_t k = 0; k < kRank; k++) {
    for (int64_t j = 0; j < kIn; j++) {
      double g = 0;
      for (int64_t n = 0; n < kRows; n++) g += dy_narrow.get(n, k) * x.get(n, j);
      a_error.add(da[k * kIn + j], 0.7f * g);
    }
    for (int64_t j = 0; j < kOut; j++) {
      double g = 0;
      for (int64_t n = 0; n < kRows; n++) g += x_narrow.get(n, k) * dy.get(n, j);
      b_error.add(db[j * kRank + k], 0.7f * g);
    }
  }
  EXPECT_LT(a_error.relative(), 2e-6);
  EXPECT_LT(b_error.relative(), 2e-6);
}

// The heads have together more columns than the threads of a block take at a time.
TEST_P(MatrixOps, OperandsOfManyHeads) {
  constexpr int64_t kTokens = 3, kBatch = 2, kRows = kBatch * kTokens, kHeads = 8, kKvHeads = 2, kDim = 256, kHalf = kDim / 2, kIn = 16;
  constexpr int64_t kQueries = kHeads * kDim, kKeys = kKvHeads * kDim, kWidth = kQueries + 2 * kKeys;
  const Buffer x(device, type(), kRows, kIn, kIn, Random(1)), space(device, DType::kF32, kRows, kWidth),
      made(device, type(), kRows, kWidth);
  const Stored w(device, DType::kF32, kWidth, kIn, 2);
  const List<float> bias(device, random_floats(kWidth, 3)), cosines(device, random_floats(kTokens * kHalf, 4)),
      sines(device, random_floats(kTokens * kHalf, 5));
  const List<int32_t> kv_of_head(device, kHeads);
  const AttentionShape shape{kBatch, kTokens,           kHeads,         kKvHeads,     kDim,       kQueries, kKeys,
                             0,      kv_of_head.data(), cosines.data(), sines.data(), bias.data()};
  AttentionOperands op{shape, {}, space.tensor(), made.tensor(), {}, {}, nullptr};
  std::vector<List<int32_t>> lists;
  for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, kQueries}, {kQueries, kKeys}, {kQueries + kKeys, kKeys}}) {
    std::vector<int32_t> list;
    for (int64_t i = 0; i < count; i++) list.push_back(static_cast<int32_t>(first + i));
    lists.emplace_back(device, list);
    Product& product = op.products[lists.size() - 1];
    product.transposed = true;
    product.add(x.tensor(), {w.view, count, kIn, nullptr, nullptr});
  }
  for (size_t p = 0; p < lists.size(); p++) op.products[p].terms[0].b.row_index = lists[p].data();
  device.run(op);
  ErrorSum error;
  for (int64_t n = 0; n < kRows; n++)
    for (int64_t h = 0; h < kHeads + 2 * kKvHeads; h++)
      for (int64_t j = 0; j < kHalf; j++) {
        const auto value = [&](int64_t column) {
          double sum = bias[column];
          for (int64_t k = 0; k < kIn; k++) sum += x.get(n, k) * w.at(column, k);
          return sum;
        };
        const int64_t column = h * kDim + j, angle = n % kTokens * kHalf + j;
        const double low = value(column), high = value(column + kHalf), scale = h < kHeads ? 1 / (std::log(2.0) * 16) : 1;
        const bool turned = h < kHeads + kKvHeads;
        error.add(made.get(n, column), turned ? scale * (low * cosines[angle] - high * sines[angle]) : low);
        error.add(made.get(n, column + kHalf), turned ? scale * (high * cosines[angle] + low * sines[angle]) : high);
      }
  EXPECT_LT(error.relative(), tolerance());
  made.expect_untouched_outside();
}

struct AttentionSize {
  int64_t batch, tokens, heads, kv_heads, dim, window;
  bool bias;
};

// Checks the attention of one row against double: probabilities [heads][query][key] and q, k, v with rotation and bias.
void check_attention(Device& device, DType type, const AttentionSize& z, double tolerance) {
  const int64_t n = z.batch * z.tokens, qw = padded_width(z.heads * z.dim), kw = padded_width(z.kv_heads * z.dim), half = z.dim / 2;
  Buffer qkv(device, type, n, qw + 2 * kw, qw + 2 * kw, Random(30)), space(device, DType::kF32, n, qw + 2 * kw),
      operands(device, type, n, qw + 2 * kw), out(device, type, n, qw), dout(device, type, n, qw, z.heads * z.dim, Random(31)),
      dqkv(device, type, n, qw + 2 * kw);
  const std::vector<float> bias = random_floats(qw + 2 * kw, 32);
  std::vector<float> cos(z.tokens * half), sin(z.tokens * half);
  for (int64_t t = 0; t < z.tokens; t++)
    for (int64_t j = 0; j < half; j++) {
      const double angle = static_cast<double>(t) * std::pow(10000.0, -2.0 * static_cast<double>(j) / static_cast<double>(z.dim));
      cos[t * half + j] = static_cast<float>(std::cos(angle));
      sin[t * half + j] = static_cast<float>(std::sin(angle));
    }
  std::vector<int32_t> kv_of_head;
  for (int64_t h = 0; h < z.heads; h++) kv_of_head.push_back(static_cast<int32_t>(h * z.kv_heads / z.heads));
  const List<double> head_dot(device, z.heads);
  const List<float> lse(device, z.heads * n), biases(device, bias), cosines(device, cos), sines(device, sin);
  const List<int32_t> kv_list(device, kv_of_head);
  const AttentionShape shape{z.batch, z.tokens, z.heads,        z.kv_heads,     z.dim,        qw,
                             kw,      z.window, kv_list.data(), cosines.data(), sines.data(), z.bias ? biases.data() : DevicePtr<float>()};
  // The three products leave qkv unchanged.
  std::vector<float> ones((qw + 2 * kw) * (qw + 2 * kw), 0.0f);
  for (int64_t i = 0; i < qw + 2 * kw; i++) ones[i * (qw + 2 * kw) + i] = 1;
  const List<float> one(device, ones);
  std::vector<int32_t> of_query, of_key, of_value;
  for (int64_t i = 0; i < qw + 2 * kw; i++) (i < qw ? of_query : i < qw + kw ? of_key : of_value).push_back(static_cast<int32_t>(i));
  AttentionOperands prepare{shape, {}, space.tensor(), operands.tensor(), {}, {}, nullptr};
  const List<int32_t> lists[3] = {{device, of_query}, {device, of_key}, {device, of_value}};
  for (int p = 0; p < 3; p++) {
    prepare.products[p].transposed = true;
    prepare.products[p].add(qkv.tensor(), {{one.data().as<const std::byte>(), DType::kF32, qw + 2 * kw, qw + 2 * kw},
                                           p == 0 ? qw : kw,
                                           qw + 2 * kw,
                                           lists[p].data(),
                                           nullptr});
  }
  device.run(prepare);
  const List<float> scale(device, qw, 0.75f);
  Buffer scaled_out(device, type, n, qw);
  device.run(Attention{shape, operands.tensor(), scaled_out.tensor(), nullptr, scale.data()});
  device.run(Attention{shape, operands.tensor(), out.tensor(), lse.data(), nullptr});
  device.run(AttentionBackward{shape, operands.tensor(), dout.tensor(), lse.data(), dqkv.tensor(), head_dot.data(), nullptr});
  const Buffer in_place = operands;
  device.run(AttentionBackward{shape, in_place.tensor(), dout.tensor(), lse.data(), in_place.tensor(), head_dot.data(), nullptr});
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < qw + 2 * kw; j++) ASSERT_EQ(in_place.get(i, j), dqkv.get(i, j)) << i << " " << j;
  const auto read = [&](int64_t row, int64_t column, bool rotated) {
    std::vector<double> v(z.dim);
    for (int64_t j = 0; j < z.dim; j++) v[j] = qkv.get(row, column + j) + (z.bias ? bias[column + j] : 0.0);
    for (int64_t j = 0; rotated && j < half; j++) {
      const double c = cos[row % z.tokens * half + j], s = sin[row % z.tokens * half + j], a = v[j], b = v[half + j];
      v[j] = a * c - b * s;
      v[half + j] = b * c + a * s;
    }
    return v;
  };
  std::vector<std::vector<double>> expected(n, std::vector<double>(qw + 2 * kw, 0.0));
  ErrorSum forward, masked, gradient;
  for (int64_t h = 0; h < z.heads; h++) {
    double expected_dot = 0, magnitude = 0;  // the terms have both signs, so the error of the sum is compared with their magnitude
    for (int64_t i = 0; i < n; i++) {
      const int64_t kc = qw + kv_of_head[h] * z.dim, vc = qw + kw + kv_of_head[h] * z.dim, first = i / z.tokens * z.tokens;
      const auto q = read(i, h * z.dim, true);
      const int64_t oldest = z.window > 0 ? std::max(first, i - z.window + 1) : first;
      std::vector<double> p, dp;
      double sum = 0, delta = 0;
      for (int64_t j = oldest; j <= i; j++) {
        const auto k = read(j, kc, true);
        double s = 0;
        for (int64_t c = 0; c < z.dim; c++) s += q[c] * k[c];
        p.push_back(std::exp(s / std::sqrt(static_cast<double>(z.dim))));
        sum += p.back();
      }
      std::vector<double> o(z.dim, 0.0);
      for (int64_t j = oldest; j <= i; j++) {
        p[j - oldest] /= sum;
        const auto v = read(j, vc, false);
        dp.push_back(0);
        for (int64_t c = 0; c < z.dim; c++) {
          o[c] += p[j - oldest] * v[c];
          dp.back() += dout.get(i, h * z.dim + c) * v[c];
          expected[j][vc + c] += p[j - oldest] * dout.get(i, h * z.dim + c);
        }
        delta += p[j - oldest] * dp.back();
      }
      expected_dot += delta;
      magnitude += std::abs(delta);
      for (int64_t c = 0; c < z.dim; c++) {
        forward.add(out.get(i, h * z.dim + c), o[c]);
        masked.add(scaled_out.get(i, h * z.dim + c), 0.75 * o[c]);
      }
      for (int64_t j = oldest; j <= i; j++) {
        const double ds = p[j - oldest] * (dp[j - oldest] - delta) / std::sqrt(static_cast<double>(z.dim));
        const auto k = read(j, kc, true);
        const auto turn_back = [&](int64_t row, int64_t column, const std::vector<double>& g) {
          for (int64_t c = 0; c < half; c++) {
            const double co = cos[row % z.tokens * half + c], si = sin[row % z.tokens * half + c];
            expected[row][column + c] += ds * (g[c] * co + g[half + c] * si);
            expected[row][column + half + c] += ds * (g[half + c] * co - g[c] * si);
          }
        };
        turn_back(i, h * z.dim, k);
        turn_back(j, kc, q);
      }
    }
    EXPECT_NEAR(head_dot[h], expected_dot, 2 * tolerance * magnitude) << "dim " << z.dim;
  }
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < qw + 2 * kw; j++) gradient.add(dqkv.get(i, j), expected[i][j]);
  EXPECT_LT(forward.relative(), tolerance) << "dim " << z.dim;
  EXPECT_LT(masked.relative(), tolerance) << "dim " << z.dim;
  EXPECT_LT(gradient.relative(), 2 * tolerance) << "dim " << z.dim;
  for (const Buffer* b : {&operands, &out, &dqkv}) b->expect_untouched_outside();
}

TEST_P(MatrixOps, AttentionOfEveryHeadSize) {
  for (const int64_t dim : {8, 32, 64, 80, 96, 128, 256}) check_attention(device, type(), {2, 37, 3, 1, dim, 0, false}, tolerance());
}
TEST_P(MatrixOps, AttentionWithWindowBiasAndGroups) {
  check_attention(device, type(), {1, 101, 4, 2, 32, 16, true}, tolerance());
  check_attention(device, type(), {1, 70, 2, 2, 80, 33, true}, tolerance());
  check_attention(device, type(), {3, 1, 2, 1, 32, 0, false}, tolerance());
  check_attention(device, type(), {1, 64, 5, 5, 8, 1, false}, tolerance());
  if (!host_computes()) return;
  // There are enough rows for threads that share panels: all three threads share them, or two pairs of the four threads.
  check_attention(device, type(), {3, 130, 3, 3, 16, 0, true}, tolerance());
  Device two_by_two(with_threads(4));
  check_attention(two_by_two, type(), {2, 150, 5, 5, 16, 0, true}, tolerance());
}

}  // namespace espalier::test

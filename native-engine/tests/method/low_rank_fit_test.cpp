// The closed form against normal equations and singular values that are computed in other ways.
#include "method/low_rank/low_rank_fit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>

#include "method/philox.h"

namespace espalier::test {

namespace {

Matrix normal(int64_t rows, int64_t cols, uint32_t stream, double scale = 1) {
  Matrix out(rows, cols);
  for (size_t i = 0; i < out.values.size(); i++) out.values[i] = scale * random_normal(9, 0, stream, static_cast<int64_t>(i));
  return out;
}

Matrix times(const Matrix& a, const Matrix& b) {
  Matrix out(a.rows, b.cols);
  for (int64_t i = 0; i < a.rows; i++)
    for (int64_t j = 0; j < b.cols; j++)
      for (int64_t k = 0; k < a.cols; k++) out.row(i)[j] += a.row(i)[k] * b.row(k)[j];
  return out;
}

Matrix turned(const Matrix& m) {
  Matrix out(m.cols, m.rows);
  for (int64_t i = 0; i < m.rows; i++)
    for (int64_t j = 0; j < m.cols; j++) out.row(j)[i] = m.row(i)[j];
  return out;
}

Matrix minus(const Matrix& a, const Matrix& b) {
  Matrix out = a;
  for (size_t i = 0; i < out.values.size(); i++) out.values[i] -= b.values[i];
  return out;
}

double squares(const Matrix& m) {
  double sum = 0;
  for (const double v : m.values) sum += v * v;
  return sum;
}

// Solves a x = b for each column of b, by elimination with pivots.
Matrix solved(Matrix a, Matrix b) {
  const int64_t n = a.rows;
  for (int64_t c = 0; c < n; c++) {
    int64_t best = c;
    for (int64_t r = c; r < n; r++)
      if (std::abs(a.row(r)[c]) > std::abs(a.row(best)[c])) best = r;
    for (int64_t j = 0; j < n; j++) std::swap(a.row(c)[j], a.row(best)[j]);
    for (int64_t j = 0; j < b.cols; j++) std::swap(b.row(c)[j], b.row(best)[j]);
    for (int64_t r = 0; r < n; r++) {
      if (r == c) continue;
      const double f = a.row(r)[c] / a.row(c)[c];
      for (int64_t j = 0; j < n; j++) a.row(r)[j] -= f * a.row(c)[j];
      for (int64_t j = 0; j < b.cols; j++) b.row(r)[j] -= f * b.row(c)[j];
    }
  }
  for (int64_t c = 0; c < n; c++)
    for (int64_t j = 0; j < b.cols; j++) b.row(c)[j] /= a.row(c)[c];
  return b;
}

// Returns the sum of the greatest eigenvalues. A power iteration finds one direction after the other, and each is removed before the next.
double leading_sum(Matrix s, int64_t count) {
  double sum = 0;
  for (int64_t k = 0; k < std::min(count, s.rows); k++) {
    Matrix v = normal(s.rows, 1, static_cast<uint32_t>(100 + k));
    for (int i = 0; i < 20000; i++) {
      v = times(s, v);
      const double scale = 1 / std::sqrt(std::max(squares(v), 1e-300));
      for (double& x : v.values) x *= scale;
    }
    const double value = times(turned(v), times(s, v)).values[0];
    sum += value;
    for (int64_t i = 0; i < s.rows; i++)
      for (int64_t j = 0; j < s.cols; j++) s.row(i)[j] -= value * v.values[i] * v.values[j];
  }
  return sum;
}

struct Problem {
  Matrix x, error;  // one example in each row
  Factors now;
  double ridge = 0.01;

  Problem(int64_t examples, int64_t outputs, int64_t inputs, int64_t rank)
      : x(normal(examples, inputs, 1)), error(normal(examples, outputs, 2, 0.5)) {
    const Matrix map = normal(inputs, outputs, 3, 0.3);  // the part of the error that can be learned
    const Matrix learnable = times(x, map);
    for (size_t i = 0; i < error.values.size(); i++) error.values[i] += learnable.values[i];
    now = {normal(outputs, rank, 4, 0.2), normal(rank, inputs, 5, 0.2)};
  }

  LowRankFit examples(int threads = 2) const {
    LowRankFit fit(error.cols, x.cols, threads);
    const int64_t cut = x.rows / 3;  // the examples are added in two parts
    for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, cut}, {cut, x.rows}}) {
      Matrix some_x(end - begin, x.cols), some_error(end - begin, error.cols);
      std::copy(x.row(begin), x.row(begin) + some_x.values.size(), some_x.values.begin());
      std::copy(error.row(begin), error.row(begin) + some_error.values.size(), some_error.values.begin());
      fit.add(some_x, some_error);
    }
    return fit;
  }
  Factors found(int threads = 2) const { return examples(threads).solve(now, ridge); }
  double penalty() const { return ridge * squares(x) / static_cast<double>(x.cols); }
  Matrix change(const Factors& f) const { return minus(times(f.out, f.in), times(now.out, now.in)); }
  // The sum that the fit minimises.
  double objective(const Matrix& change) const { return squares(minus(error, times(x, turned(change)))) + penalty() * squares(change); }
  double errors_of(const Factors& f) const { return squares(minus(error, times(x, turned(change(f))))); }
  Matrix regularised() const {  // x^T x + penalty
    Matrix c = times(turned(x), x);
    for (int64_t i = 0; i < c.rows; i++) c.row(i)[i] += penalty();
    return c;
  }
  Matrix best_change() const { return turned(solved(regularised(), times(turned(x), error))); }
  // Returns the least objective of any map of this rank: that of the best map, plus the loss by the smaller singular values.
  double least(int64_t rank) const {
    const Matrix change = best_change();
    Matrix whole = times(now.out, now.in);
    for (size_t i = 0; i < whole.values.size(); i++) whole.values[i] += change.values[i];
    const Matrix energy = times(times(whole, regularised()), turned(whole));
    double trace = 0;
    for (int64_t i = 0; i < energy.rows; i++) trace += energy.row(i)[i];
    return objective(change) + trace - leading_sum(energy, rank);
  }
};

}  // namespace

class LowRankFitShapes : public testing::TestWithParam<std::pair<int64_t, int64_t>> {};

TEST_P(LowRankFitShapes, AtFullRankIsTheSolutionOfTheNormalEquations) {
  const auto [outputs, inputs] = GetParam();
  const Problem p(90, outputs, inputs, std::min(outputs, inputs));
  const Matrix expected = p.best_change(), change = p.change(p.found());
  EXPECT_LT(std::sqrt(squares(minus(change, expected)) / squares(expected)), 1e-7);
}

TEST_P(LowRankFitShapes, TheChangeOfAnyRankIsTheSolutionOfTheNormalEquations) {
  const auto [outputs, inputs] = GetParam();
  const Problem p(90, outputs, inputs, 1);
  const Matrix expected = p.best_change(), change = p.examples().solve_whole(p.ridge);
  EXPECT_LT(std::sqrt(squares(minus(change, expected)) / squares(expected)), 1e-9);
  EXPECT_EQ(p.examples(1).solve_whole(p.ridge).values, change.values);
}

TEST_P(LowRankFitShapes, AtLowRankIsTheBestThatSingularValuesAllow) {
  const auto [outputs, inputs] = GetParam();
  for (const int64_t rank : {1, 3, 6}) {
    const Problem p(90, outputs, inputs, rank);
    const Factors f = p.found();
    ASSERT_EQ(f.out.cols, rank);
    ASSERT_EQ(f.in.rows, rank);
    EXPECT_NEAR(p.objective(p.change(f)) / p.least(rank), 1, 1e-9);
    EXPECT_LT(p.objective(p.change(f)), p.objective(Matrix(outputs, inputs)));
  }
}

TEST_P(LowRankFitShapes, NoErrorGrowsHoweverStrongTheRidge) {
  const auto [outputs, inputs] = GetParam();
  for (const double ridge : {1e-6, 0.01, 1.0, 1e6}) {
    Problem p(7, outputs, inputs, 2);  // there are fewer examples than inputs
    p.ridge = ridge;
    EXPECT_LE(p.errors_of(p.found()), squares(p.error) * (1 + 1e-9));
  }
}

TEST_P(LowRankFitShapes, HasTheSameBitsWithAnyThreads) {
  const auto [outputs, inputs] = GetParam();
  const Problem p(90, outputs, inputs, 4);
  const Factors one = p.found(1), three = p.found(3);
  EXPECT_EQ(one.out.values, three.out.values);
  EXPECT_EQ(one.in.values, three.in.values);
}

INSTANTIATE_TEST_SUITE_P(All, LowRankFitShapes,
                         testing::Values(std::pair<int64_t, int64_t>{12, 30}, std::pair<int64_t, int64_t>{30, 12},
                                         std::pair<int64_t, int64_t>{17, 17}, std::pair<int64_t, int64_t>{9, 70}),
                         [](const auto& info) { return std::to_string(info.param.first) + "_of_" + std::to_string(info.param.second); });

TEST(LowRankFit, InputsThatDependOnEachOtherAreNoObstacle) {
  Problem p(60, 10, 20, 4);
  for (int64_t r = 0; r < p.x.rows; r++) {
    p.x.row(r)[3] = 2 * p.x.row(r)[5];
    p.x.row(r)[7] = 0;
  }
  const Factors f = p.found();
  EXPECT_NEAR(p.objective(p.change(f)) / p.least(4), 1, 1e-9);
}

TEST(LowRankFit, LeavesFactorsThatItDoesNotNeedAtZero) {
  Problem p(60, 10, 20, 5);
  p.now = {Matrix(10, 5), Matrix(5, 20)};
  p.error = times(times(p.x, normal(20, 2, 11)), normal(2, 10, 12));
  const Factors f = p.found();
  for (int64_t k = 0; k < 5; k++) {
    double size = 0;
    for (int64_t i = 0; i < 10; i++) size += std::abs(f.out.row(i)[k]);
    if (k < 2)
      EXPECT_GT(size, 0);
    else
      EXPECT_EQ(size, 0);
  }
}

TEST(LowRankFit, FindsNothingInExamplesOfZerosOrThatAreNotFinite) {
  Problem p(6, 4, 8, 2);
  p.error.values[3] = std::nan("");
  EXPECT_EQ(p.found().out.rows, 0);
  EXPECT_EQ(p.examples().solve_whole(p.ridge).rows, 0);
  p.x = Matrix(6, 8);
  p.error = Matrix(6, 4);
  EXPECT_EQ(p.found().out.rows, 0);
}

// The eigenvalues are given, and fall as slowly as those of a random matrix, so no gap between them helps. A reflection makes a full matrix
// of them.
TEST(LowRankFit, ASubspaceHoldsNearlyAllThatTheLeadingEigenvectorsHold) {
  constexpr int64_t kRows = 300, kCount = 20;
  const Matrix normal_to_mirror = normal(kRows, 1, 21);
  const double by = 2 / squares(normal_to_mirror);
  Matrix values(kRows, kRows), reflection(kRows, kRows);
  double held_by_all = 0;
  for (int64_t i = 0; i < kRows; i++) {
    values.row(i)[i] = std::pow(1 - std::pow(static_cast<double>(i) / kRows, 2.0 / 3), 2);
    if (i < kCount) held_by_all += values.row(i)[i];
    for (int64_t j = 0; j < kRows; j++)
      reflection.row(i)[j] = (i == j ? 1.0 : 0.0) - by * normal_to_mirror.values[i] * normal_to_mirror.values[j];
  }
  const Matrix s = times(times(reflection, values), reflection), v = leading_eigenvectors(s, kCount, 2).vectors;
  const Matrix energy = times(times(v, s), turned(v)), lengths = times(v, turned(v));
  double held = 0;
  for (int64_t i = 0; i < kCount; i++) {
    held += energy.row(i)[i];
    for (int64_t j = 0; j < kCount; j++) EXPECT_NEAR(lengths.row(i)[j], i == j ? 1 : 0, 1e-9);
  }
  EXPECT_NEAR(held / held_by_all, 1, 1e-3);
}

// W' of the kept columns S solves W'_S (G_SS + r) = W G_S + r W_S, where G is the sum of x x^T and r the ridge times its mean diagonal.
TEST(ColumnFits, SolveTheNormalEquationsForEveryNumberOfColumns) {
  constexpr int64_t kOutputs = 5, kInputs = 9;
  const Matrix map = normal(kOutputs, kInputs, 1), x = times(normal(40, kInputs, 2), normal(kInputs, kInputs, 3));
  const std::vector<int32_t> order{4, 0, 8, 2, 6, 1, 7, 3, 5};
  const double ridge = 0.05;
  ColumnFits fits(kInputs, 2);
  Matrix half(20, kInputs);
  for (const int64_t from : {0, 20}) {
    std::copy_n(x.row(from), half.values.size(), half.values.begin());
    fits.add(half);
  }
  ASSERT_TRUE(fits.prepare(map, order, ridge));
  Matrix squares_of_x = times(turned(x), x);
  double r = 0;
  for (int64_t i = 0; i < kInputs; i++) r += ridge * squares_of_x.row(i)[i] / static_cast<double>(kInputs);
  for (int64_t i = 0; i < kInputs; i++) squares_of_x.row(i)[i] += r;
  const Matrix right = times(map, squares_of_x);
  for (int64_t kept = 0; kept <= kInputs; kept++) {
    const Matrix found = fits.fit(kept);
    for (int64_t o = 0; o < kOutputs; o++)
      for (int64_t i = kept; i < kInputs; i++) EXPECT_EQ(found.row(o)[order[i]], 0);
    const Matrix left = times(found, squares_of_x);
    for (int64_t o = 0; o < kOutputs; o++)
      for (int64_t i = 0; i < kept; i++)
        EXPECT_NEAR(left.row(o)[order[i]], right.row(o)[order[i]], 1e-8 * std::abs(right.row(o)[order[i]]) + 1e-8) << kept << " " << i;
  }
  EXPECT_LT(squares(minus(fits.fit(kInputs), map)), 1e-18);
}

TEST(ColumnFits, HaveNoFitForExamplesOfZeros) {
  ColumnFits fits(3, 1);
  fits.add(Matrix(4, 3));
  EXPECT_FALSE(fits.prepare(normal(2, 3, 1), {0, 1, 2}, 0.01));
}

}  // namespace espalier::test

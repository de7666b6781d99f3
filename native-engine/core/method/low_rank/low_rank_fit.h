// Least squares with a product of two narrow matrices, in closed form. It is pure and computes in double, with every sum in one fixed
// order, so no bit depends on the number of threads.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace espalier {

// A dense matrix in row-major order.
struct Matrix {
  int64_t rows = 0, cols = 0;
  std::vector<double> values;

  Matrix() = default;
  Matrix(int64_t r, int64_t c) : rows(r), cols(c), values(static_cast<size_t>(r * c), 0.0) {}
  double* row(int64_t i) { return values.data() + i * cols; }
  const double* row(int64_t i) const { return values.data() + i * cols; }
};

// The product of out [outputs, rank] and in [rank, inputs].
struct Factors {
  Matrix out, in;
};

// Gathers examples of a linear map and its errors, x [inputs] with the error e [outputs], and then changes the narrow part of the map.
class LowRankFit {
 public:
  LowRankFit(int64_t outputs, int64_t inputs, int threads);

  // Adds examples: x [rows, inputs], error [rows, outputs].
  void add(const Matrix& x, const Matrix& error);

  // The map computes W x + out in x now, with an error e. Returns the factors out', in' of the same rank that minimise
  //   sum |e - (out' in' - out in) x|^2 + ridge * m * |out' in' - out in|^2,  m: the mean over the inputs of sum x^2.
  // So the sum of squared errors can't grow. Where a narrower product is as good, the columns of out' that are not needed and their rows of
  // in' are 0. Where the examples are all 0 or not finite, there is no fit, and both factors are empty. The call uses up the gathered sums.
  Factors solve(const Factors& now, double ridge);

  // Returns the change of any rank that minimises sum |e - change x|^2 + ridge * m * |change|^2, with m as above. It has no rows where the
  // examples are all 0 or not finite. The call uses up the gathered sums.
  Matrix solve_whole(double ridge);

  // Returns the most bytes that such a fit takes.
  static uint64_t bytes(int64_t outputs, int64_t inputs, int64_t rank);

 private:
  bool add_ridge(double ridge);  // false where the examples are all 0 or not finite

  int threads_;
  Matrix squares_;  // the lower half of the sum of x x^T
  Matrix cross_;    // the sum of e x^T
};

// Fits of a linear map to its own outputs from fewer of its inputs. One factorisation serves every number of inputs that are kept.
class ColumnFits {
 public:
  ColumnFits(int64_t inputs, int threads) : threads_(threads), squares_(inputs, inputs) {}

  void add(const Matrix& x);  // examples of the inputs [rows, inputs]

  // Takes the map W [outputs, inputs] and the order in which inputs are kept. It uses up the gathered sums. Returns false where the
  // examples are all 0 or not finite; then there is no fit.
  bool prepare(const Matrix& map, std::vector<int32_t> order, double ridge);

  // Returns the map W' [outputs, inputs] of the first `kept` inputs of the order, 0 in all other inputs, that minimises
  //   sum |W x - W' x|^2 + ridge * m * |W - W'|^2,  m: the mean over the inputs of sum x^2.
  Matrix fit(int64_t kept) const;

  static uint64_t bytes(int64_t outputs, int64_t inputs);  // the most bytes that such fits take

 private:
  int threads_;
  Matrix squares_;  // the lower half of the sum of x x^T, then the factor L of it with the ridge, in the order
  Matrix along_;    // W L, its columns in the order
  std::vector<int32_t> order_;
};

// The `count` leading eigenvectors of a symmetric matrix without negative eigenvalues, as rows, the greatest eigenvalue first, and their
// eigenvalues. Up to 256 rows they are exact. For larger matrices they come from an iteration in a slightly larger subspace, and together
// cover nearly as much as the best ones can.
struct Eigen {
  Matrix vectors;
  std::vector<double> values;
};
Eigen leading_eigenvectors(const Matrix& symmetric, int64_t count, int threads);

}  // namespace espalier

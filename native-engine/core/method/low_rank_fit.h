// Least squares with a product of two narrow matrices, in closed form. Pure, in double, every sum in one fixed order: no bit depends on
// the number of threads.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace espalier {

// Row-major, dense.
struct Matrix {
  int64_t rows = 0, cols = 0;
  std::vector<double> values;

  Matrix() = default;
  Matrix(int64_t r, int64_t c) : rows(r), cols(c), values(static_cast<size_t>(r * c), 0.0) {}
  double* row(int64_t i) { return values.data() + i * cols; }
  const double* row(int64_t i) const { return values.data() + i * cols; }
};

// out [outputs, rank] times in [rank, inputs].
struct Factors {
  Matrix out, in;
};

// Gathers examples of a linear map with errors, x [inputs] with its error e [outputs], and changes the map's narrow part.
class LowRankFit {
 public:
  LowRankFit(int64_t outputs, int64_t inputs, int threads);

  // x [rows, inputs], error [rows, outputs].
  void add(const Matrix& x, const Matrix& error);

  // The map computes W x + out in x now, with an error of e. Returns the factors out', in' of the same rank that make
  //   sum |e - (out' in' - out in) x|^2 + ridge * m * |out' in' - out in|^2,  m: the mean over the inputs of sum x^2
  // least. So the sum of squared errors can't grow. Where a narrower product does as well, the columns of out' that are not needed are 0,
  // and so are their rows of in'. Where the examples are all 0, or not finite, there is no fit, and both are empty.
  // Uses up the gathered sums.
  Factors solve(const Factors& now, double ridge);

  // Bytes of such a fit at its largest.
  static uint64_t bytes(int64_t outputs, int64_t inputs, int64_t rank);

 private:
  int threads_;
  Matrix squares_;  // lower half of the sum of x x^T
  Matrix cross_;    // sum of e x^T
};

// The `count` leading eigenvectors of a symmetric matrix without negative eigenvalues, as rows, the greatest first, and their eigenvalues.
// Up to 256 rows exactly; beyond, by iteration in a subspace a little larger: together they hold nearly as much as the best can.
struct Eigen {
  Matrix vectors;
  std::vector<double> values;
};
Eigen leading_eigenvectors(const Matrix& symmetric, int64_t count, int threads);

}  // namespace espalier

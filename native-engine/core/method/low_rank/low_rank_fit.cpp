#include "method/low_rank/low_rank_fit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace espalier {

namespace {

constexpr int64_t kLanes = 8;          // the partial sums of a dot product
constexpr int64_t kBlock = 64;         // the columns of a factorisation that are finished together
constexpr int64_t kPanel = 4;          // the columns of the examples that lie side by side
constexpr int64_t kWorthThreads = 16;  // the least rows of a matrix for which threads pay
constexpr double kNegligible = 1e-14;  // eigenvalues below this share of the greatest one are only rounding errors

// Calls f(i) for each i, on any thread. Each call writes only to its own place.
template <class F>
void for_each(int threads, int64_t begin, int64_t end, F&& f) {
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) if (end - begin >= kWorthThreads)
  for (int64_t i = begin; i < end; i++) f(i);
}

double dot(const double* a, const double* b, int64_t count) {
  std::array<double, kLanes> sums{};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int64_t lane = 0; lane < kLanes; lane++) sums[lane] += a[i + lane] * b[i + lane];
  double sum = ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
  for (; i < count; i++) sum += a[i] * b[i];
  return sum;
}

void add_scaled(double scale, const double* from, double* to, int64_t count) {
  for (int64_t i = 0; i < count; i++) to[i] += scale * from[i];
}

Matrix transposed(const Matrix& m) {
  Matrix out(m.cols, m.rows);
  for (int64_t i = 0; i < m.rows; i++)
    for (int64_t j = 0; j < m.cols; j++) out.row(j)[i] = m.row(i)[j];
  return out;
}

// Returns the columns in panels, each dense, so that a product reads both its inputs sequentially.
std::vector<double> in_panels(const Matrix& m, int threads) {
  const int64_t count = (m.cols + kPanel - 1) / kPanel;
  std::vector<double> out(static_cast<size_t>(count * m.rows * kPanel), 0.0);
  for_each(threads, 0, count, [&](int64_t panel) {
    double* to = out.data() + panel * m.rows * kPanel;
    for (int64_t r = 0; r < m.rows; r++)
      for (int64_t j = 0; j < std::min(kPanel, m.cols - panel * kPanel); j++) to[r * kPanel + j] = m.row(r)[panel * kPanel + j];
  });
  return out;
}

// to += a^T b over the rows. `lower`: only up to the diagonal, where a and b are the same matrix.
void add_products(const Matrix& a, const std::vector<double>& a_panels, const Matrix& b, const std::vector<double>& b_panels, bool lower,
                  Matrix& to, int threads) {
  const int64_t rows = a.rows;
  for_each(threads, 0, (a.cols + kPanel - 1) / kPanel, [&](int64_t p) {
    const double* left = a_panels.data() + p * rows * kPanel;
    const int64_t last = lower ? p + 1 : (b.cols + kPanel - 1) / kPanel;
    for (int64_t q = 0; q < last; q++) {
      const double* right = b_panels.data() + q * rows * kPanel;
      double sums[kPanel][kPanel] = {};
      for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < kPanel; i++)
          for (int64_t j = 0; j < kPanel; j++) sums[i][j] += left[r * kPanel + i] * right[r * kPanel + j];
      for (int64_t i = 0; i < std::min(kPanel, a.cols - p * kPanel); i++)
        for (int64_t j = 0; j < std::min(kPanel, b.cols - q * kPanel); j++) to.row(p * kPanel + i)[q * kPanel + j] += sums[i][j];
    }
  });
}

// Replaces the lower half of a positive definite matrix by its Cholesky factor L.
void factorise(Matrix& m, int threads) {
  const int64_t n = m.rows;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = std::min(n, begin + kBlock);
    for_each(threads, begin, n, [&](int64_t i) {
      for (int64_t j = begin; j < std::min(i + 1, end); j++) m.row(i)[j] -= dot(m.row(i), m.row(j), begin);
    });
    const auto finish = [&](int64_t i, int64_t columns) {
      for (int64_t j = begin; j < columns; j++)
        m.row(i)[j] = (m.row(i)[j] - dot(m.row(i) + begin, m.row(j) + begin, j - begin)) / m.row(j)[j];
    };
    for (int64_t i = begin; i < end; i++) {
      finish(i, i);
      m.row(i)[i] = std::sqrt(m.row(i)[i] - dot(m.row(i) + begin, m.row(i) + begin, i - begin));
    }
    for_each(threads, end, n, [&](int64_t i) { finish(i, end); });
  }
}

// Replaces each row x by the y for which y L^T = x.
void divide_by_transposed(Matrix& rows, const Matrix& l, int threads) {
  for_each(threads, 0, rows.rows, [&](int64_t r) {
    double* y = rows.row(r);
    for (int64_t j = 0; j < l.rows; j++) y[j] = (y[j] - dot(y, l.row(j), j)) / l.row(j)[j];
  });
}

// Replaces the first `count` values of each row, x, by the y for which y L = x, where L are the first rows and columns of l.
void divide(Matrix& rows, const Matrix& l, int64_t count, int threads) {
  for_each(threads, 0, rows.rows, [&](int64_t r) {
    double* y = rows.row(r);
    for (int64_t j = count - 1; j >= 0; j--) {
      y[j] /= l.row(j)[j];
      add_scaled(-y[j], l.row(j), y, j);
    }
  });
}

// m += out (in L).
void add_narrow(const Factors& f, const Matrix& l, Matrix& m, int threads) {
  Matrix in(f.in.rows, f.in.cols);
  for_each(threads, 0, in.rows, [&](int64_t k) {
    for (int64_t i = 0; i < l.rows; i++) add_scaled(f.in.row(k)[i], l.row(i), in.row(k), i + 1);
  });
  for_each(threads, 0, m.rows, [&](int64_t o) {
    for (int64_t k = 0; k < in.rows; k++) add_scaled(f.out.row(o)[k], in.row(k), m.row(o), m.cols);
  });
}

// Returns a b, where b is wide.
Matrix product(const Matrix& a, const Matrix& b, int threads) {
  Matrix out(a.rows, b.cols);
  for_each(threads, 0, a.rows, [&](int64_t i) {
    for (int64_t k = 0; k < a.cols; k++) add_scaled(a.row(i)[k], b.row(k), out.row(i), b.cols);
  });
  return out;
}

// Returns m m^T.
Matrix products_of_rows(const Matrix& m, int threads) {
  Matrix out(m.rows, m.rows);
  for_each(threads, 0, m.rows, [&](int64_t i) {
    for (int64_t j = 0; j <= i; j++) out.row(i)[j] = dot(m.row(i), m.row(j), m.cols);
  });
  for (int64_t i = 0; i < m.rows; i++)
    for (int64_t j = 0; j < i; j++) out.row(j)[i] = out.row(i)[j];
  return out;
}

bool all_finite(const Matrix& m) {
  return std::all_of(m.values.begin(), m.values.end(), [](double v) { return std::isfinite(v); });
}

// Adds the ridge, as a share of the diagonal's mean. Returns false where the examples are all 0 or not finite.
bool weighted(Matrix& squares, double ridge) {
  const int64_t inputs = squares.rows;
  double mean = 0;
  for (int64_t i = 0; i < inputs; i++) mean += squares.row(i)[i] / static_cast<double>(inputs);
  if (!(mean > 0) || !all_finite(squares)) return false;
  for (int64_t i = 0; i < inputs; i++) squares.row(i)[i] += ridge * mean;
  return true;
}

}  // namespace

LowRankFit::LowRankFit(int64_t outputs, int64_t inputs, int threads)
    : threads_(threads), squares_(inputs, inputs), cross_(outputs, inputs) {}

void LowRankFit::add(const Matrix& x, const Matrix& error) {
  const std::vector<double> inputs = in_panels(x, threads_), outputs = in_panels(error, threads_);
  add_products(x, inputs, x, inputs, true, squares_, threads_);
  add_products(error, outputs, x, inputs, false, cross_, threads_);
}

bool LowRankFit::add_ridge(double ridge) { return all_finite(cross_) && weighted(squares_, ridge); }

// With C = L L^T as below, the change is cross C^-1 = (cross L^-T) L^-1.
Matrix LowRankFit::solve_whole(double ridge) {
  if (!add_ridge(ridge)) return {};
  Matrix l = std::move(squares_), change = std::move(cross_);
  factorise(l, threads_);
  divide_by_transposed(change, l, threads_);
  divide(change, l, l.rows, threads_);
  return all_finite(change) ? std::move(change) : Matrix{};
}

// With C = sum x x^T + ridge m I = L L^T and the map D = out in, the sum equals |D* L - D' L|^2 plus a constant, where D* = D + cross C^-1
// is the best map of any rank. So D' L must be the best approximation of its rank to M = D L + cross L^-T, which is the part of M along its
// leading singular vectors.
Factors LowRankFit::solve(const Factors& now, double ridge) {
  if (!add_ridge(ridge)) return {};
  const int64_t rank = now.in.rows;
  Matrix l = std::move(squares_), m = std::move(cross_);
  factorise(l, threads_);
  divide_by_transposed(m, l, threads_);
  add_narrow(now, l, m, threads_);
  if (!all_finite(m)) return {};
  const bool turned = m.rows > m.cols;
  if (turned) m = transposed(m);
  Eigen leading = leading_eigenvectors(products_of_rows(m, threads_), rank, threads_);
  Matrix along = product(leading.vectors, m, threads_);
  Factors found{turned ? std::move(along) : std::move(leading.vectors), {}};
  found.in = turned ? std::move(leading.vectors) : std::move(along);
  for (int64_t k = 0; k < rank; k++)
    if (!(leading.values[k] > kNegligible * leading.values[0])) {
      std::fill_n(found.out.row(k), found.out.cols, 0.0);
      std::fill_n(found.in.row(k), found.in.cols, 0.0);
    }
  divide(found.in, l, l.rows, threads_);
  found.out = transposed(found.out);
  return found;
}

uint64_t LowRankFit::bytes(int64_t outputs, int64_t inputs, int64_t rank) {
  const int64_t least = std::min(outputs, inputs), wide = outputs + inputs;
  return static_cast<uint64_t>(inputs * inputs + 2 * outputs * inputs + 2 * least * least + 4 * rank * wide) * sizeof(double);
}

void ColumnFits::add(const Matrix& x) {
  const std::vector<double> inputs = in_panels(x, threads_);
  add_products(x, inputs, x, inputs, true, squares_, threads_);
}

// Let C = sum x x^T + ridge m I = L L^T, with rows and columns in the order, and let n mark the first n of them. W' has to solve
// W'_n C_nn = (W C)_n. The right side is (W L)_n L_nn^T, since L^T has only zeros below its diagonal. So W'_n = (W L)_n L_nn^-1.
bool ColumnFits::prepare(const Matrix& map, std::vector<int32_t> order, double ridge) {
  if (!weighted(squares_, ridge)) return false;
  const int64_t inputs = squares_.rows;
  order_ = std::move(order);
  Matrix l(inputs, inputs);
  for_each(threads_, 0, inputs, [&](int64_t i) {
    for (int64_t j = 0; j <= i; j++) {
      const int32_t a = order_[i], b = order_[j];
      l.row(i)[j] = squares_.row(std::max(a, b))[std::min(a, b)];
    }
  });
  factorise(l, threads_);
  along_ = Matrix(map.rows, inputs);
  for_each(threads_, 0, map.rows, [&](int64_t o) {
    for (int64_t i = 0; i < inputs; i++) add_scaled(map.row(o)[order_[i]], l.row(i), along_.row(o), i + 1);
  });
  squares_ = std::move(l);
  return all_finite(along_);
}

Matrix ColumnFits::fit(int64_t kept) const {
  Matrix found = along_, out(along_.rows, along_.cols);
  divide(found, squares_, kept, threads_);
  for (int64_t o = 0; o < out.rows; o++)
    for (int64_t i = 0; i < kept; i++) out.row(o)[order_[i]] = found.row(o)[i];
  return out;
}

uint64_t ColumnFits::bytes(int64_t outputs, int64_t inputs) {
  return static_cast<uint64_t>(2 * inputs * inputs + 4 * outputs * inputs) * sizeof(double);
}

}  // namespace espalier

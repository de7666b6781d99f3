// Eigenvectors of symmetric matrices: all of them by rotations, and the leading ones of large matrices by iteration in a subspace.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "method/low_rank/low_rank_fit.h"
#include "method/philox.h"

namespace espalier {

namespace {

constexpr int64_t kExactRows = 256;
constexpr int64_t kMoreVectors = 16;  // the vectors of the subspace beyond those that are asked for
constexpr int kIterations = 12;
constexpr int kSweepsMax = 40;
constexpr double kConverged = 1e-15;  // the part that remains off the diagonal, as a share of the whole

// Rotates rows p and q by the angle with this cosine and sine.
void turn(double* p, double* q, double c, double s, int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    const double a = p[i], b = q[i];
    p[i] = c * a - s * b;
    q[i] = s * a + c * b;
  }
}

double off_diagonal(const Matrix& m) {
  double sum = 0;
  for (int64_t i = 0; i < m.rows; i++)
    for (int64_t j = 0; j < i; j++) sum += m.row(i)[j] * m.row(i)[j];
  return std::sqrt(2 * sum);
}

double norm(const Matrix& m) {
  double sum = 0;
  for (const double v : m.values) sum += v * v;
  return std::sqrt(sum);
}

// Makes the element (p, q) of m 0.
void rotate(Matrix& m, Matrix& vectors, int64_t p, int64_t q) {
  const double apq = m.row(p)[q];
  if (apq == 0) return;
  const double theta = (m.row(q)[q] - m.row(p)[p]) / (2 * apq);
  const double t = (theta >= 0 ? 1.0 : -1.0) / (std::abs(theta) + std::hypot(theta, 1.0));
  const double c = 1 / std::sqrt(t * t + 1), s = t * c;
  turn(m.row(p), m.row(q), c, s, m.cols);
  for (int64_t i = 0; i < m.rows; i++) {
    const double a = m.row(i)[p], b = m.row(i)[q];
    m.row(i)[p] = c * a - s * b;
    m.row(i)[q] = s * a + c * b;
  }
  m.row(p)[q] = m.row(q)[p] = 0;
  turn(vectors.row(p), vectors.row(q), c, s, vectors.cols);
}

// Returns all eigenvectors, by cyclic rotations (Jacobi), the greatest eigenvalue first.
Eigen all_eigenvectors(Matrix m) {
  const int64_t n = m.rows;
  Matrix vectors(n, n);
  for (int64_t i = 0; i < n; i++) vectors.row(i)[i] = 1;
  const double whole = norm(m);
  for (int sweep = 0; sweep < kSweepsMax && off_diagonal(m) > kConverged * whole; sweep++)
    for (int64_t p = 0; p < n; p++)
      for (int64_t q = p + 1; q < n; q++) rotate(m, vectors, p, q);
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return m.row(i)[i] > m.row(j)[j]; });
  Eigen out{Matrix(n, n), {}};
  for (int64_t k = 0; k < n; k++) {
    std::copy_n(vectors.row(order[k]), n, out.vectors.row(k));
    out.values.push_back(m.row(order[k])[order[k]]);
  }
  return out;
}

// Returns a m, where m is symmetric.
Matrix times(const Matrix& a, const Matrix& m, int threads) {
  Matrix out(a.rows, m.cols);
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (int64_t i = 0; i < a.rows; i++)
    for (int64_t k = 0; k < a.cols; k++)
      for (int64_t j = 0; j < m.cols; j++) out.row(i)[j] += a.row(i)[k] * m.row(k)[j];
  return out;
}

double dot(const double* a, const double* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; i++) sum += a[i] * b[i];
  return sum;
}

// Makes the rows orthonormal. A row that depends on those before it becomes 0. Each row is projected twice, since rounding errors remain
// after once.
void orthonormalise(Matrix& m) {
  for (int64_t i = 0; i < m.rows; i++) {
    const double before = std::sqrt(dot(m.row(i), m.row(i), m.cols));
    for (int pass = 0; pass < 2; pass++)
      for (int64_t k = 0; k < i; k++) {
        const double share = dot(m.row(i), m.row(k), m.cols);
        for (int64_t j = 0; j < m.cols; j++) m.row(i)[j] -= share * m.row(k)[j];
      }
    const double after = std::sqrt(dot(m.row(i), m.row(i), m.cols));
    const double scale = after > 1e-12 * before ? 1 / after : 0;
    for (int64_t j = 0; j < m.cols; j++) m.row(i)[j] *= scale;
  }
}

}  // namespace

Eigen leading_eigenvectors(const Matrix& symmetric, int64_t count, int threads) {
  const int64_t n = symmetric.rows, width = count + kMoreVectors;
  Eigen found;
  if (n <= kExactRows || width >= n) {
    found = all_eigenvectors(symmetric);
  } else {
    Matrix space(width, n);
    for (int64_t i = 0; i < width * n; i++)
      space.values[static_cast<size_t>(i)] = random_normal(0, 0, static_cast<uint32_t>(RandomStream::kRefit), i);
    orthonormalise(space);
    for (int i = 0; i < kIterations; i++) {
      space = times(space, symmetric, threads);
      orthonormalise(space);
    }
    const Matrix image = times(space, symmetric, threads);
    Matrix within(width, width);
    for (int64_t i = 0; i < width; i++)
      for (int64_t j = 0; j <= i; j++) within.row(i)[j] = within.row(j)[i] = dot(image.row(i), space.row(j), n);
    found = all_eigenvectors(std::move(within));
    found.vectors = times(found.vectors, space, threads);
  }
  Eigen out{Matrix(count, n), std::vector<double>(static_cast<size_t>(count), 0.0)};
  for (int64_t k = 0; k < std::min(count, static_cast<int64_t>(found.values.size())); k++) {
    std::copy_n(found.vectors.row(k), n, out.vectors.row(k));
    out.values[k] = found.values[k];
  }
  return out;
}

}  // namespace espalier

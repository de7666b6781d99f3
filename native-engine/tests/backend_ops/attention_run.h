// Runs attention and its gradients on given operands and compares them with plain double loops over the same rounded values.
#pragma once
#include <compare>
#include <map>
#include <memory>
#include <utility>

#include "op_fixture.h"

namespace espalier::test {

struct OperandSize {
  int64_t batch, tokens, dim, window;
  std::vector<int32_t> kv_of_head;
  int64_t kv_heads;
  float greatest = 0.8f;  // the greatest magnitude of the operands
  float cap = 0;          // of the scores

  auto operator<=>(const OperandSize&) const = default;
};

// The operands, angles and results of one attention, forward and backward.
class AttentionRun {
 public:
  AttentionRun(Device& device, DType type, const OperandSize& z)
      : z_(z),
        heads_(static_cast<int64_t>(z.kv_of_head.size())),
        rows_(z.batch * z.tokens),
        query_width_(padded_width(heads_ * z.dim)),
        kv_width_(padded_width(z.kv_heads * z.dim)),
        operands(device, type, rows_, query_width_ + 2 * kv_width_, query_width_ + 2 * kv_width_, Random(40, z.greatest)),
        out(device, type, rows_, query_width_),
        dout(device, type, rows_, query_width_, heads_ * z.dim, Random(41)),
        dqkv(device, type, rows_, query_width_ + 2 * kv_width_),
        cosines(device, turns(false)),
        sines(device, turns(true)),
        scale(device, head_scales()),
        lse(device, heads_ * rows_),
        kv_list(device, z.kv_of_head),
        head_dot(device, heads_),
        operand_values_(values_of(operands, rows_, width())),
        dout_values_(values_of(dout, rows_, heads_ * z.dim)),
        cosine_values_(turns(false)),
        sine_values_(turns(true)) {
    AttentionShape shape{z.batch,   z.tokens, heads_,         z.kv_heads,     z.dim,        query_width_,
                         kv_width_, z.window, kv_list.data(), cosines.data(), sines.data(), nullptr};
    shape.score_cap = z.cap;
    device.run(Attention{shape, operands.tensor(), out.tensor(), lse.data(), scale.data()});
    device.run(AttentionBackward{shape, operands.tensor(), dout.tensor(), lse.data(), dqkv.tensor(), head_dot.data(), scale.data()});
    over_ = std::make_unique<Buffer>(operands);
    device.run(AttentionBackward{shape, over_->tensor(), dout.tensor(), lse.data(), over_->tensor(), head_dot.data(), scale.data()});
  }

  void check(double tolerance) const {
    const Expected& expected = this->expected();
    ErrorSum forward, gradient, sums;
    for (int64_t h = 0; h < heads_; h++) {
      EXPECT_NEAR(head_dot[h], expected.dots[h], 2 * tolerance * expected.magnitudes[h]) << "head " << h;
      for (int64_t row = 0; row < rows_; row++) sums.add(lse[h * rows_ + row], expected.lse[h * rows_ + row]);
    }
    for (int64_t row = 0; row < rows_; row++) {
      for (int64_t j = 0; j < heads_ * z_.dim; j++) forward.add(out.get(row, j), expected.out[row * heads_ * z_.dim + j]);
      for (int64_t j = 0; j < width(); j++) {
        gradient.add(dqkv.get(row, j), expected.gradient[row * width() + j]);
        ASSERT_EQ(over_->get(row, j), dqkv.get(row, j)) << row << "," << j;
      }
      for (int64_t j = heads_ * z_.dim; j < query_width_; j++) ASSERT_EQ(out.get(row, j), 0.0);
    }
    EXPECT_LT(forward.relative(), tolerance);
    EXPECT_LT(sums.relative(), 1e-6);
    EXPECT_LT(gradient.relative(), 2 * tolerance);
    for (const Buffer* b : {&out, &dqkv, static_cast<const Buffer*>(over_.get())}) b->expect_untouched_outside();
  }
  std::vector<std::vector<char>> results() const { return {out.bytes(), lse.bytes(), dqkv.bytes(), head_dot.bytes(), over_->bytes()}; }

 private:
  int64_t width() const { return query_width_ + 2 * kv_width_; }

  // The loops read each value once for each pair of a query and a key, which takes much longer from the buffers.
  static std::vector<double> values_of(const Buffer& buffer, int64_t rows, int64_t cols) {
    std::vector<double> values;
    for (int64_t row = 0; row < rows; row++)
      for (int64_t j = 0; j < cols; j++) values.push_back(buffer.get(row, j));
    return values;
  }
  const double* operand(int64_t row, int64_t column) const { return operand_values_.data() + row * width() + column; }

  std::vector<float> turns(bool sine) const {
    std::vector<float> of;
    for (int64_t t = 0; t < z_.tokens; t++)
      for (int64_t j = 0; j < z_.dim / 2; j++) {
        const double angle = 0.3 * static_cast<double>(t) / (1.0 + static_cast<double>(j));
        of.push_back(static_cast<float>(sine ? std::sin(angle) : std::cos(angle)));
      }
    return of;
  }
  std::vector<float> head_scales() const {
    std::vector<float> of(query_width_, 1.0f);
    for (int64_t j = 0; j < heads_ * z_.dim; j++) of[j] = 0.5f + 0.25f * static_cast<float>(j / z_.dim);
    return of;
  }

  // The results that plain loops in double find.
  struct Expected {
    std::vector<double> out, lse, gradient;
    std::vector<double> dots, magnitudes;  // for each head: the sum of dout . out with an unscaled out, and that of its terms' magnitudes
  };
  // The operands of a size are the same on every device, so their results are computed once in a process.
  const Expected& expected() const {
    static std::map<std::pair<DType, OperandSize>, Expected> known;
    Expected& e = known[{operands.tensor().dtype, z_}];
    if (e.out.empty()) compute(e);
    return e;
  }
  void compute(Expected& e) const {
    e.out.resize(rows_ * heads_ * z_.dim);
    e.lse.resize(heads_ * rows_);
    e.gradient.resize(rows_ * width());
    e.dots.resize(heads_);
    e.magnitudes.resize(heads_);
    for (int64_t h = 0; h < heads_; h++)
      for (int64_t row = 0; row < rows_; row++) {
        const double delta = compute_query(h, row, e);
        e.dots[h] += delta;
        e.magnitudes[h] += std::abs(delta);
      }
  }

  // Computes one query's output and log-sum-exp, and adds its share of the gradients. Returns dout . out, where out is not scaled.
  double compute_query(int64_t h, int64_t row, Expected& e) const {
    const int64_t dim = z_.dim, q = h * dim, k = query_width_ + z_.kv_of_head[h] * dim, v = k + kv_width_;
    const int64_t begin = row / z_.tokens * z_.tokens, oldest = z_.window > 0 ? std::max(begin, row - z_.window + 1) : begin;
    std::vector<double> p, dp, slopes, o(dim, 0.0);
    const double cap = z_.cap / std::log(2.0);  // of scores as base-2 logarithms
    const double *query = operand(row, q), *dy = dout_values_.data() + row * heads_ * dim + h * dim, factor = scale[h * dim];
    double mass = 0, delta = 0;
    for (int64_t j = oldest; j <= row; j++) {
      const double* key = operand(j, k);
      double s = 0;
      for (int64_t c = 0; c < dim; c++) s += query[c] * key[c];
      p.push_back(std::exp2(capped(s, cap)));
      slopes.push_back(cap > 0 ? 1 / std::pow(std::cosh(s / cap), 2) : 1);
      mass += p.back();
    }
    for (int64_t j = oldest; j <= row; j++) {
      double d = 0;
      const double weight = p[j - oldest] /= mass, *value = operand(j, v);
      double* gradient = e.gradient.data() + j * width() + v;
      for (int64_t c = 0; c < dim; c++) {
        o[c] += weight * value[c];
        d += factor * dy[c] * value[c];
        gradient[c] += weight * factor * dy[c];
      }
      dp.push_back(d);
      delta += weight * d;
    }
    e.lse[h * rows_ + row] = std::log2(mass);
    for (int64_t c = 0; c < dim; c++) e.out[row * heads_ * dim + h * dim + c] = o[c] * factor;
    for (int64_t j = oldest; j <= row; j++) {
      const double ds = p[j - oldest] * (dp[j - oldest] - delta) * slopes[j - oldest];
      turn_back(e, row, q, j, k, ds / std::sqrt(static_cast<double>(dim)));
      turn_back(e, j, k, row, q, ds * std::log(2.0));
    }
    return delta;
  }
  // Adds `by` times the operand at (from_row, from) to the expected gradient of (row, column), rotated back by the angles of `row`.
  void turn_back(Expected& e, int64_t row, int64_t column, int64_t from_row, int64_t from, double by) const {
    const int64_t half = z_.dim / 2, angles = row % z_.tokens * half;
    const double *first = operand(from_row, from), *second = first + half;
    const float *cosine = cosine_values_.data() + angles, *sine = sine_values_.data() + angles;
    double* gradient = e.gradient.data() + row * width() + column;
    for (int64_t c = 0; c < half; c++) {
      gradient[c] += by * (first[c] * cosine[c] + second[c] * sine[c]);
      gradient[half + c] += by * (second[c] * cosine[c] - first[c] * sine[c]);
    }
  }

  OperandSize z_;
  int64_t heads_, rows_, query_width_, kv_width_;
  Buffer operands, out, dout, dqkv;
  List<float> cosines, sines, scale, lse;
  List<int32_t> kv_list;
  List<double> head_dot;
  std::vector<double> operand_values_, dout_values_;
  std::vector<float> cosine_values_, sine_values_;
  std::unique_ptr<Buffer> over_;  // holds the gradients that were written over the operands
};

}  // namespace espalier::test

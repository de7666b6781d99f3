// Norms of query and key heads and their gradients, and attention without rotary embedding, against plain double loops.
#include "op_fixture.h"

namespace espalier::test {

namespace {

struct NormSize {
  int64_t batch, tokens, heads, kv_heads, dim;
  bool turned;
  bool whole = false;  // one norm covers all query heads, and another all key heads
  float score_scale = 0;
};

// Makes the operands of attention from a given qkv: the products select its columns by an identity matrix.
class NormRun {
 public:
  NormRun(Device& device, DType type, const NormSize& z)
      : z_(z),
        rows_(z.batch * z.tokens),
        qw_(padded_width(z.heads * z.dim)),
        kw_(padded_width(z.kv_heads * z.dim)),
        qkv_(device, type, rows_, width(), width(), Random(50)),
        space_(device, DType::kF32, rows_, width()),
        operands_(device, type, rows_, width()),
        normed_(device, type, rows_, qw_ + kw_),
        dqkv_(device, type, rows_, width(), width(), Random(51)),
        before_(dqkv_),
        // The weights have both signs, and one is 0, so that a kernel that divides by them fails.
        query_weights_(device, weights(52, norms_size(false))),
        key_weights_(device, weights(53, norms_size(true))),
        rstd_(device, rows_ * (z.heads + z.kv_heads)),
        cosines_(device, turns(false)),
        sines_(device, turns(true)),
        kv_list_(device, std::vector<int32_t>(static_cast<size_t>(z.heads), 0)),
        identity_(device, identity()) {
    for (int p = 0; p < 3; p++) {
      std::vector<int32_t> list;
      for (int64_t i = 0; i < (p == 0 ? qw_ : kw_); i++) list.push_back(static_cast<int32_t>((p > 0 ? qw_ : 0) + (p > 1 ? kw_ : 0) + i));
      lists_.emplace_back(device, list);
    }
    device.run(prepare(true));
    device.run(HeadNormBackward{shape(), norms(), normed_.tensor(), rstd_.data(), dqkv_.tensor()});
    again_ = std::make_unique<Buffer>(device, type, rows_, width());
    AttentionOperands unsaved = prepare(false);
    unsaved.operands = again_->tensor();
    device.run(unsaved);
  }

  AttentionOperands prepare(bool saved) const {
    AttentionOperands op{shape(), {}, space_.tensor(), operands_.tensor(), norms(), {}, nullptr};
    if (saved) op.normed = normed_.tensor(), op.rstd = rstd_.data();
    for (int p = 0; p < 3; p++) {
      op.products[p].transposed = true;
      const StoredMatrix one{identity_.data().as<const std::byte>(), DType::kF32, width(), width()};
      op.products[p].add(qkv_.tensor(), {one, p == 0 ? qw_ : kw_, width(), lists_[p].data(), nullptr});
    }
    return op;
  }

  void check(double tolerance) const {
    ErrorSum forward, kept, inverse, gradient;
    for (int64_t n = 0; n < rows_; n++) {
      for (int64_t h = 0; h < z_.heads + z_.kv_heads; h++) check_head(n, h, forward, kept, inverse, gradient);
      for (int64_t h = 0; h < z_.kv_heads; h++)
        for (int64_t j = 0; j < z_.dim; j++) {
          const int64_t at = qw_ + kw_ + h * z_.dim + j;
          forward.add(operands_.get(n, at), qkv_.get(n, at));
          ASSERT_EQ(dqkv_.get(n, at), before_.get(n, at)) << "values are left alone";
        }
      for (int64_t j = 0; j < z_.heads * z_.dim; j++) ASSERT_EQ(again_->get(n, j), operands_.get(n, j)) << n << "," << j;
    }
    EXPECT_LT(forward.relative(), tolerance) << "dim " << z_.dim;
    EXPECT_LT(kept.relative(), tolerance) << "dim " << z_.dim;
    EXPECT_LT(inverse.relative(), 1e-6) << "dim " << z_.dim;
    EXPECT_LT(gradient.relative(), 2 * tolerance) << "dim " << z_.dim;
    for (const Buffer* b : {&operands_, &normed_, &dqkv_}) b->expect_untouched_outside();
  }

 private:
  static constexpr float kEps = 1e-3f;

  int64_t width() const { return padded_width(z_.heads * z_.dim) + 2 * padded_width(z_.kv_heads * z_.dim); }
  AttentionShape shape() const {
    AttentionShape s{z_.batch, z_.tokens, z_.heads, z_.kv_heads, z_.dim, qw_, kw_, 0, kv_list_.data(), nullptr, nullptr, nullptr};
    s.score_scale = z_.score_scale;
    if (z_.turned) s.rope_cos = cosines_.data(), s.rope_sin = sines_.data();
    return s;
  }
  HeadNorms norms() const { return {query_weights_.data(), key_weights_.data(), kEps, z_.whole}; }
  int64_t norms_size(bool key) const { return z_.whole ? (key ? z_.kv_heads : z_.heads) * z_.dim : z_.dim; }
  std::vector<float> identity() const {
    std::vector<float> ones(static_cast<size_t>(width() * width()), 0.0f);
    for (int64_t i = 0; i < width(); i++) ones[i * width() + i] = 1;
    return ones;
  }
  std::vector<float> weights(uint32_t seed, int64_t size) const {
    std::vector<float> w = random_floats(size, seed, 2.0f);
    w[1] = 0;
    return w;
  }
  std::vector<float> turns(bool sine) const {
    std::vector<float> of;
    for (int64_t t = 0; t < z_.tokens; t++)
      for (int64_t j = 0; j < z_.dim / 2; j++) {
        const double angle = 0.3 * static_cast<double>(t) / (1.0 + static_cast<double>(j));
        of.push_back(static_cast<float>(1.25 * (sine ? std::sin(angle) : std::cos(angle))));  // longer than 1, as yarn makes them
      }
    return of;
  }

  void check_head(int64_t n, int64_t h, ErrorSum& forward, ErrorSum& kept, ErrorSum& inverse, ErrorSum& gradient) const {
    const bool key = h >= z_.heads;
    const int64_t column = key ? qw_ + (h - z_.heads) * z_.dim : h * z_.dim, half = z_.dim / 2;
    const List<float>& w = key ? key_weights_ : query_weights_;
    // The values that are normed together begin at column `first`.
    const int64_t count = norms_size(key), first = z_.whole ? (key ? qw_ : 0) : column, of_weight = column - first;
    double squares = 0, dots = 0;
    for (int64_t j = 0; j < count; j++) squares += qkv_.get(n, first + j) * qkv_.get(n, first + j);
    const double size = static_cast<double>(count), rstd = 1 / std::sqrt(squares / size + kEps);
    inverse.add(rstd_[static_cast<size_t>(z_.whole ? 2 * n + key : n * (z_.heads + z_.kv_heads) + h)], rstd);
    for (int64_t j = 0; j < count; j++) dots += before_.get(n, first + j) * w[j] * qkv_.get(n, first + j) * rstd;
    std::vector<double> xhat, y, dxhat;
    for (int64_t j = 0; j < z_.dim; j++) {
      xhat.push_back(qkv_.get(n, column + j) * rstd);
      y.push_back(xhat.back() * w[of_weight + j]);
      dxhat.push_back(before_.get(n, column + j) * w[of_weight + j]);
      kept.add(normed_.get(n, column + j), xhat.back());
    }
    for (int64_t j = 0; j < z_.dim; j++) gradient.add(dqkv_.get(n, column + j), rstd * (dxhat[j] - xhat[j] * dots / size));
    const double scale = key ? 1.0 : (z_.score_scale > 0 ? z_.score_scale : 1 / std::sqrt(static_cast<double>(z_.dim))) / std::log(2.0);
    for (int64_t j = 0; j < half; j++) {
      const size_t at = static_cast<size_t>(n % z_.tokens * half + j);
      const double c = z_.turned ? cosines_[at] : 1.0, s = z_.turned ? sines_[at] : 0.0;
      forward.add(operands_.get(n, column + j), scale * (y[j] * c - y[half + j] * s));
      forward.add(operands_.get(n, column + half + j), scale * (y[half + j] * c + y[j] * s));
    }
  }

  NormSize z_;
  int64_t rows_, qw_, kw_;
  Buffer qkv_, space_, operands_, normed_, dqkv_, before_;
  List<float> query_weights_, key_weights_, rstd_, cosines_, sines_;
  List<int32_t> kv_list_;
  List<float> identity_;
  std::vector<List<int32_t>> lists_;
  std::unique_ptr<Buffer> again_;  // the results without what the backward pass needs
};

}  // namespace

class HeadNorm : public OpTest {};

TEST_P(HeadNorm, OfEveryHeadSizeForwardAndBackward) {
  for (const int64_t dim : {8, 24, 32, 80, 128, 256}) NormRun(device, type(), {2, 19, 3, 1, dim, true}).check(tolerance());
}

TEST_P(HeadNorm, OfAllHeadsTogether) {
  for (const int64_t dim : {8, 24, 128}) NormRun(device, type(), {2, 19, 3, 2, dim, true, true}).check(tolerance());
  NormRun(device, type(), {1, 1, 4, 4, 32, true, true}).check(tolerance());
  if (!host_computes()) return;
  Device two_by_two(with_threads(4));
  NormRun(two_by_two, type(), {2, 150, 5, 5, 16, true, true}).check(tolerance());
}

TEST_P(HeadNorm, QueriesTakeAnotherScaleOfTheScores) { NormRun(device, type(), {2, 19, 3, 1, 24, true, false, 0.4f}).check(tolerance()); }

TEST_P(HeadNorm, WithoutRotaryEmbeddingFewRowsAndMany) {
  NormRun(device, type(), {1, 21, 4, 2, 16, false}).check(tolerance());
  NormRun(device, type(), {3, 1, 2, 2, 64, true}).check(tolerance());
  NormRun(device, type(), {1, 1, 2, 1, 16, true}).check(tolerance());
  if (!host_computes()) return;
  NormRun(device, type(), {3, 130, 3, 3, 16, true}).check(tolerance());
  Device two_by_two(with_threads(4));
  NormRun(two_by_two, type(), {2, 150, 5, 5, 16, true}).check(tolerance());
}

// Preconditions that op_contracts.cpp checks.
TEST_P(HeadNorm, RefusesABiasAndNormsThatAreMissing) {
  const auto refused = [&](const auto& op) { EXPECT_THROW(device.run(op), Error); };
  refused(HeadNormBackward{});
  NormRun run(device, type(), {1, 3, 2, 1, 16, true});
  AttentionOperands op = run.prepare(true);
  op.shape.bias = op.norms.query;
  refused(op);
  op = run.prepare(true);
  op.norms.key = nullptr;
  refused(op);
  op = run.prepare(true);
  op.rstd = nullptr;
  refused(op);
  run.check(tolerance());  // also waits for everything that is queued
}

INSTANTIATE_TEST_SUITE_P(All, HeadNorm, testing::ValuesIn(op_cases()), case_name);

}  // namespace espalier::test

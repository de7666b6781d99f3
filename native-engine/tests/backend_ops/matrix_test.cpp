// Gathered weights, products, LoRA gradients and attention against plain double loops.
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

TEST_P(MatrixOps, GatherWithScalesAndLora) {
  constexpr int64_t kFullRows = 35, kFullCols = 53, kRank = 5;
  std::vector<uint16_t> stored(kFullRows * kFullCols);
  std::vector<double> w(stored.size());
  Random values(2);
  Buffer one(DType::kBF16, 1, 16, 16, Random(3));
  for (size_t i = 0; i < stored.size(); i++) {
    one.set(0, 0, values());
    w[i] = one.get(0, 0);
    std::memcpy(&stored[i], one.tensor.data, 2);
  }
  const auto rows = every_third_closed(kFullRows, 32), cols = every_third_closed(kFullCols, 48);
  const auto a = random_floats(kRank * kFullCols, 4), b = random_floats(kFullRows * kRank, 5), row_scale = random_floats(32, 6), col_scale = random_floats(48, 7);
  Buffer out(type(), 32, 48), plain(type(), kFullRows, 64);
  GatherWeights op{out.tensor, {stored.data(), DType::kBF16, kFullRows, kFullCols}, rows.data(), cols.data(), row_scale.data(), col_scale.data(), a.data(), b.data(), kRank, 0.7f};
  GatherWeights whole;
  whole.out = plain.tensor;
  whole.weight = op.weight;
  const GatherWeights both[2] = {op, whole};
  backend.gather_weights(both);
  ErrorSum error;
  for (int64_t i = 0; i < 32; i++)
    for (int64_t j = 0; j < 48; j++) {
      double expected = 0;
      if (rows[i] >= 0 && cols[j] >= 0) {
        for (int64_t k = 0; k < kRank; k++) expected += 0.7f * static_cast<double>(b[rows[i] * kRank + k]) * a[k * kFullCols + cols[j]];
        expected = row_scale[i] * (w[rows[i] * kFullCols + cols[j]] + expected) * col_scale[j];
      }
      error.add(out.get(i, j), expected);
      if (rows[i] < 0 || cols[j] < 0) EXPECT_EQ(out.get(i, j), 0.0);
    }
  EXPECT_LT(error.relative(), tolerance());
  for (int64_t i = 0; i < kFullRows; i++)
    for (int64_t j = 0; j < 64; j++) EXPECT_EQ(plain.get(i, j), j < kFullCols ? w[i * kFullCols + j] : 0.0);
  out.expect_untouched_outside();
  plain.expect_untouched_outside();
}

TEST_P(MatrixOps, ProductsBothWaysAndAccumulated) {
  constexpr int64_t kM = 37, kN = 48, kK = 32;
  Buffer a(type(), kM, kK, kK, Random(8)), bt(type(), kN, kK, kK, Random(9)), b(type(), kK, kN, kN, Random(10)), c(type(), kM, kN), sum(DType::kF32, kM, kN, kN, Random(11));
  const Buffer before = sum;
  backend.matmul(c.tensor, a.tensor, bt.tensor, true, false);
  backend.matmul(sum.tensor, a.tensor, b.tensor, false, true);
  ErrorSum plain, accumulated;
  for (int64_t i = 0; i < kM; i++)
    for (int64_t j = 0; j < kN; j++) {
      double x = 0, y = before.get(i, j);
      for (int64_t k = 0; k < kK; k++) x += a.get(i, k) * bt.get(j, k), y += a.get(i, k) * b.get(k, j);
      plain.add(c.get(i, j), x);
      accumulated.add(sum.get(i, j), y);
    }
  EXPECT_LT(plain.relative(), tolerance());
  EXPECT_LT(accumulated.relative(), 2e-6);
  c.expect_untouched_outside();
  sum.expect_untouched_outside();
}

// Several groups of panels, a last panel and a last vector that are not full, depths beyond one pass, more threads than columns.
TEST_P(MatrixOps, ProductsOfEveryWidthAndDepth) {
  struct Size {
    int64_t m, n, k;
  };
  for (const Size z : {Size{1, 1, 2}, Size{7, 70, 48}, Size{23, 203, 130}, Size{5, 33, 4400}, Size{13, 16, 9000}, Size{50, 1300, 520}}) {
    const int64_t stride = z.k + 2;
    Buffer a(type(), z.m, stride, z.k, Random(8)), bt(type(), z.n, z.k, z.k, Random(9)), b(type(), z.k, z.n, z.n, Random(10));
    Buffer c(type(), z.m, z.n), sum(DType::kF32, z.m, z.n, z.n, Random(11));
    const Buffer before = sum;
    backend.matmul(c.tensor, a.tensor.columns(0, z.k), bt.tensor, true, false);
    backend.matmul(sum.tensor, a.tensor.columns(0, z.k), b.tensor, false, true);
    ErrorSum plain, accumulated;
    for (int64_t i = 0; i < z.m; i++)
      for (int64_t j = 0; j < z.n; j += 1 + z.k / 1000) {
        double x = 0, y = before.get(i, j);
        for (int64_t k = 0; k < z.k; k++) x += a.get(i, k) * bt.get(j, k), y += a.get(i, k) * b.get(k, j);
        plain.add(c.get(i, j), x);
        accumulated.add(sum.get(i, j), y);
      }
    EXPECT_LT(plain.relative(), tolerance()) << z.m << " " << z.n << " " << z.k;
    EXPECT_LT(accumulated.relative(), 4e-6) << z.m << " " << z.n << " " << z.k;
    c.expect_untouched_outside();
    sum.expect_untouched_outside();
  }
}

TEST_P(MatrixOps, LoraGradientsOfThreeProjections) {
  for (const int64_t rank : {3, 8, 16, 20}) {
    constexpr int64_t kRows = 133, kInFull = 53, kOutFull = 35;
    const auto cols = every_third_closed(kInFull, 48), rows = every_third_closed(kOutFull, 32);
    Buffer x(type(), kRows, 48, 35, Random(12));
    std::vector<Buffer> dy;
    std::vector<std::vector<float>> a, b, da, db;
    const auto row_scale = random_floats(32, 13), col_scale = random_floats(48, 14);
    LoraGradient op;
    op.x = x.tensor;
    op.cols = cols.data();
    op.col_scale = col_scale.data();
    op.in_full = kInFull;
    op.rank = rank;
    op.lora_scale = 0.7f;
    op.count = 3;
    for (uint32_t i = 0; i < 3; i++) {
      dy.emplace_back(type(), kRows, 32, 23, Random(15 + i));
      a.push_back(random_floats(rank * kInFull, 20 + i));
      b.push_back(random_floats(kOutFull * rank, 25 + i));
      da.emplace_back(rank * kInFull, 77.0f);
      db.emplace_back(kOutFull * rank, 77.0f);
    }
    for (int i = 0; i < 3; i++) op.outputs[i] = {dy[i].tensor, rows.data(), row_scale.data(), a[i].data(), b[i].data(), da[i].data(), db[i].data()};
    backend.lora_gradient(op);
    ErrorSum a_error, b_error;
    for (int p = 0; p < 3; p++)
      for (int64_t k = 0; k < rank; k++) {
        std::vector<double> narrow_x(kRows, 0.0), narrow_dy(kRows, 0.0);
        for (int64_t n = 0; n < kRows; n++) {
          for (int64_t j = 0; j < 48; j++)
            if (cols[j] >= 0) narrow_x[n] += x.get(n, j) * col_scale[j] * a[p][k * kInFull + cols[j]];
          for (int64_t i = 0; i < 32; i++)
            if (rows[i] >= 0) narrow_dy[n] += dy[p].get(n, i) * row_scale[i] * b[p][rows[i] * rank + k];
        }
        for (int64_t j = 0; j < 48; j++) {
          double g = 0;
          for (int64_t n = 0; n < kRows; n++) g += narrow_dy[n] * x.get(n, j);
          if (cols[j] >= 0) a_error.add(da[p][k * kInFull + cols[j]], 0.7f * col_scale[j] * g);
        }
        for (int64_t i = 0; i < 32; i++) {
          double g = 0;
          for (int64_t n = 0; n < kRows; n++) g += narrow_x[n] * dy[p].get(n, i);
          if (rows[i] >= 0) b_error.add(db[p][rows[i] * rank + k], 0.7f * row_scale[i] * g);
        }
        EXPECT_EQ(da[p][k * kInFull + 1], 77.0f) << "closed columns are left alone";
        EXPECT_EQ(db[p][1 * rank + k], 77.0f);
      }
    EXPECT_LT(a_error.relative(), tolerance()) << "rank " << rank;
    EXPECT_LT(b_error.relative(), tolerance()) << "rank " << rank;
  }
}

struct AttentionSize {
  int64_t batch, tokens, heads, kv_heads, dim, window;
  bool bias;
};

// Attention of one row in double: probabilities [heads][query][key] and rotated, biased q, k, v.
void check_attention(cpu::CpuBackend& backend, DType type, const AttentionSize& z, double tolerance) {
  const int64_t n = z.batch * z.tokens, qw = padded_width(z.heads * z.dim), kw = padded_width(z.kv_heads * z.dim), half = z.dim / 2;
  Buffer qkv(type, n, qw + 2 * kw, qw + 2 * kw, Random(30)), space(DType::kF32, n, qw + 2 * kw), operands(type, n, qw + 2 * kw), out(type, n, qw), dout(type, n, qw, z.heads * z.dim, Random(31)), dqkv(type, n, qw + 2 * kw);
  std::vector<float> lse(z.heads * n), bias = random_floats(qw + 2 * kw, 32), cos(z.tokens * half), sin(z.tokens * half);
  for (int64_t t = 0; t < z.tokens; t++)
    for (int64_t j = 0; j < half; j++) {
      const double angle = static_cast<double>(t) * std::pow(10000.0, -2.0 * static_cast<double>(j) / static_cast<double>(z.dim));
      cos[t * half + j] = static_cast<float>(std::cos(angle));
      sin[t * half + j] = static_cast<float>(std::sin(angle));
    }
  std::vector<int32_t> kv_of_head;
  for (int64_t h = 0; h < z.heads; h++) kv_of_head.push_back(static_cast<int32_t>(h * z.kv_heads / z.heads));
  std::vector<double> head_dot(z.heads);
  const AttentionShape shape{z.batch, z.tokens, z.heads, z.kv_heads, z.dim, qw, kw, z.window, kv_of_head.data(), cos.data(), sin.data(), z.bias ? bias.data() : nullptr};
  // The three products leave qkv as it is.
  const auto zero = [](int64_t, int64_t) { return 0.0f; };
  Buffer one_q(type, qw, qw + 2 * kw, qw + 2 * kw, zero), one_k(type, kw, qw + 2 * kw, qw + 2 * kw, zero), one_v(type, kw, qw + 2 * kw, qw + 2 * kw, zero);
  for (int64_t i = 0; i < qw; i++) one_q.set(i, i, 1);
  for (int64_t i = 0; i < kw; i++) one_k.set(i, qw + i, 1), one_v.set(i, qw + kw + i, 1);
  const ProductPart parts[3] = {{one_q.tensor, 0}, {one_k.tensor, qw}, {one_v.tensor, qw + kw}};
  backend.attention_operands({shape, qkv.tensor, parts, space.tensor, operands.tensor});
  backend.attention({shape, operands.tensor, out.tensor, lse.data()});
  backend.attention_backward({shape, operands.tensor, dout.tensor, lse.data(), dqkv.tensor, head_dot.data()});
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
  ErrorSum forward, gradient;
  for (int64_t h = 0; h < z.heads; h++) {
    double expected_dot = 0, magnitude = 0;  // the terms have both signs, so the sum is held against their magnitude
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
      for (int64_t c = 0; c < z.dim; c++) forward.add(out.get(i, h * z.dim + c), o[c]);
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
  EXPECT_LT(gradient.relative(), 2 * tolerance) << "dim " << z.dim;
  for (const Buffer* b : {&operands, &out, &dqkv}) b->expect_untouched_outside();
}

TEST_P(MatrixOps, AttentionOfEveryHeadSize) {
  for (const int64_t dim : {8, 32, 64, 80, 96, 128, 256}) check_attention(backend, type(), {2, 37, 3, 1, dim, 0, false}, tolerance());
}
TEST_P(MatrixOps, AttentionWithWindowBiasAndGroups) {
  check_attention(backend, type(), {1, 101, 4, 2, 32, 16, true}, tolerance());
  check_attention(backend, type(), {1, 70, 2, 2, 80, 33, true}, tolerance());
  check_attention(backend, type(), {3, 1, 2, 1, 32, 0, false}, tolerance());
  check_attention(backend, type(), {1, 64, 5, 5, 8, 1, false}, tolerance());
}

}  // namespace espalier::test

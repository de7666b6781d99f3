// RMSNorm, SwiGLU, losses and AdamW against plain double loops, with odd row counts and padded widths.
#include <algorithm>

#include "op_fixture.h"

namespace espalier::test {

class ElementwiseOps : public OpTest {};
INSTANTIATE_TEST_SUITE_P(All, ElementwiseOps, testing::ValuesIn(op_cases()), case_name);

constexpr int64_t kRows = 37, kOpen = 43, kWidth = 48, kHidden = 61;  // 43 open of 61 hidden units, padded to 48

TEST_P(ElementwiseOps, RmsNormAndItsGradient) {
  Buffer x(device, DType::kF32, kRows, kWidth, kOpen, Random(1, 3.0f)), out(device, type(), kRows, kWidth),
      dx(device, DType::kF32, kRows, kWidth, kOpen, Random(2));
  Buffer dout(device, DType::kF32, kRows, kWidth, kOpen, Random(3)), dxc(device, type(), kRows, kWidth),
      diff(device, type(), kRows, kWidth, kOpen, Random(4));
  const Buffer before = dx;
  List<float> weight(device, random_floats(kWidth, 5)), rstd(device, kRows), dot(device, kWidth, 0.5f);
  device.run(RmsNorm{x.tensor(), out.tensor(), rstd.data(), weight.data(), kHidden, 1e-5f});
  RmsNormBackward op;
  op.dout = dout.tensor();
  op.saved = x.tensor();
  op.rstd = rstd.data();
  op.weight = weight.data();
  op.width = kHidden;
  op.dx = dx.tensor();
  op.loss_diff = diff.tensor();
  op.loss_scale = 0.7f;
  op.dx_compute = dxc.tensor();
  const List<float> scale(device, random_floats(kWidth, 17));
  op.compute_scale = scale.data();
  op.mask_dot = dot.data();
  device.run(op);
  // From the norm's own output the same comes out, up to its rounding.
  std::vector<float> inverses(kWidth);
  for (int64_t j = 0; j < kWidth; j++) inverses[j] = 1.0f / weight[j];
  const List<float> inverse(device, inverses), other_dot(device, kWidth, 0.5f);
  const Buffer other = before;
  RmsNormBackward from_output = op;
  from_output.saved = out.tensor();
  from_output.weight_inverse = inverse.data();
  from_output.dx = other.tensor();
  from_output.mask_dot = other_dot.data();
  device.run(from_output);
  ErrorSum agreement;
  for (int64_t n = 0; n < kRows; n++)
    for (int64_t j = 0; j < kWidth; j++) agreement.add(other.get(n, j), dx.get(n, j));
  EXPECT_LT(agreement.relative(), tolerance());
  ErrorSum forward, gradient, rounded, dots;
  std::vector<double> expected_dot(kWidth, 0.5);
  for (int64_t n = 0; n < kRows; n++) {
    double squares = 0, mean = 0;
    for (int64_t j = 0; j < kOpen; j++) squares += x.get(n, j) * x.get(n, j);
    const double r = 1.0 / std::sqrt(squares / kHidden + 1e-5);
    for (int64_t j = 0; j < kOpen; j++) mean += dout.get(n, j) * weight[j] * x.get(n, j) * r / kHidden;
    for (int64_t j = 0; j < kWidth; j++) {
      const double xhat = x.get(n, j) * r, g = dout.get(n, j) * weight[j] - xhat * mean;
      forward.add(out.get(n, j), xhat * weight[j]);
      const double total = before.get(n, j) + g * r + 0.7f * diff.get(n, j);
      gradient.add(dx.get(n, j), total);
      rounded.add(dxc.get(n, j), scale[j] * total);
      expected_dot[j] += g * xhat;
    }
  }
  for (int64_t j = 0; j < kWidth; j++) dots.add(dot[j], expected_dot[j]);
  // The result may lie where the layer loss's differences or the norm's output did.
  const Buffer over_diff = diff, over_saved = out;
  for (const Buffer* place : {&over_diff, &over_saved}) {
    const Buffer stream = before;
    RmsNormBackward in_place = place == &over_saved ? from_output : op;
    (place == &over_saved ? in_place.saved : in_place.loss_diff) = place->tensor();
    in_place.dx = stream.tensor();
    in_place.dx_compute = place->tensor();
    device.run(in_place);
    ErrorSum same;
    for (int64_t n = 0; n < kRows; n++)
      for (int64_t j = 0; j < kWidth; j++) same.add(place->get(n, j), dxc.get(n, j));
    EXPECT_LT(same.relative(), place == &over_diff ? tolerance() : 1e-12);
  }
  EXPECT_LT(forward.relative(), tolerance());
  EXPECT_LT(gradient.relative(), 2e-6);
  EXPECT_LT(rounded.relative(), tolerance());
  EXPECT_LT(dots.relative(), 2e-6);
  for (const Buffer* b : {&out, &dx, &dxc}) b->expect_untouched_outside();
}

TEST_P(ElementwiseOps, SwigluAndItsGradient) {
  // Values far out on both sides too: silu must not overflow.
  Random values(6, 8.0f);
  Buffer gate_up(device, type(), kRows, 2 * kWidth, 2 * kWidth,
                 [&](int64_t i, int64_t j) { return i == 0 ? (j % 2 ? 200.0f : -200.0f) : values(); });
  Buffer out(device, type(), kRows, kWidth), dout(device, type(), kRows, kWidth, kOpen, Random(7)),
      dgate_up(device, type(), kRows, 2 * kWidth), again(device, type(), kRows, kWidth);
  const List<float> dot(device, kWidth);
  device.run(Swiglu{gate_up.tensor(), out.tensor()});
  const List<float> scale(device, random_floats(kWidth, 18));
  device.run(SwigluBackward{gate_up.tensor(), dout.tensor(), dgate_up.tensor(), again.tensor(), dot.data(), scale.data()});
  const Buffer gate_up_in_place = gate_up, out_in_place = dout;
  device.run(SwigluBackward{gate_up_in_place.tensor(), out_in_place.tensor(), gate_up_in_place.tensor(), out_in_place.tensor(), dot.data(),
                            scale.data()});
  ErrorSum forward, gate_error, up_error, dots;
  std::vector<double> expected_dot(kWidth, 0.0);
  for (int64_t n = 0; n < kRows; n++)
    for (int64_t j = 0; j < kWidth; j++) {
      const double g = gate_up.get(n, j), u = gate_up.get(n, kWidth + j), d = dout.get(n, j), s = 1.0 / (1.0 + std::exp(-g));
      const double dg = d * u * (s + g * s * (1 - s)), du = d * g * s;
      forward.add(out.get(n, j), g * s * u);
      EXPECT_EQ(out.get(n, j), again.get(n, j));
      EXPECT_EQ(out.get(n, j), out_in_place.get(n, j));
      EXPECT_EQ(dgate_up.get(n, j), gate_up_in_place.get(n, j));
      EXPECT_EQ(dgate_up.get(n, kWidth + j), gate_up_in_place.get(n, kWidth + j));
      gate_error.add(dgate_up.get(n, j), scale[j] * dg);
      up_error.add(dgate_up.get(n, kWidth + j), scale[j] * du);
      expected_dot[j] += dg * g + du * u;
    }
  for (int64_t j = 0; j < kWidth; j++) dots.add(dot[j], expected_dot[j]);
  EXPECT_LT(forward.relative(), tolerance());
  EXPECT_LT(gate_error.relative(), tolerance());
  EXPECT_LT(up_error.relative(), tolerance());
  EXPECT_LT(dots.relative(), 2e-6);
  for (const Buffer* b : {&out, &dgate_up, &again}) b->expect_untouched_outside();
}

TEST_P(ElementwiseOps, LayerLossOverDifferentOpenUnits) {
  constexpr int64_t kTeacherWidth = 32;
  Buffer student(device, DType::kF32, kRows, kWidth, kOpen, Random(8)),
      teacher(device, DType::kF32, kRows, kTeacherWidth, kTeacherWidth, Random(9)), diff(device, type(), kRows, kWidth);
  std::vector<int32_t> matches(kWidth, -1);
  for (int32_t j = 0; j < 30; j++) matches[j + j / 3] = j;
  std::vector<float> scales = random_floats(kWidth, 10);
  for (int64_t j = 0; j < kWidth; j++)
    if (j >= kOpen || j % 7 == 0) scales[j] = 0.0f;  // closed while in the products
  const List<int32_t> match(device, matches);
  const List<float> scale(device, scales), dot(device, kWidth);
  const List<double> sum(device, 1);
  device.run(LayerLoss{student.tensor(), teacher.tensor(), match.data(), scale.data(), diff.tensor(), sum.data(), dot.data()});
  double expected = 0;
  ErrorSum differences, dots;
  std::vector<double> expected_dot(kWidth, 0.0);
  for (int64_t n = 0; n < kRows; n++)
    for (int64_t j = 0; j < kWidth; j++) {
      const double d = scale[j] == 0.0f ? 0.0 : student.get(n, j) - (match[j] < 0 ? 0.0 : teacher.get(n, match[j]));
      expected += d * d;
      differences.add(diff.get(n, j), d);
      expected_dot[j] += d * student.get(n, j);
    }
  for (int64_t j = 0; j < kWidth; j++) dots.add(dot[j], expected_dot[j]);
  EXPECT_NEAR(sum[0], expected, 2e-6 * expected);
  EXPECT_LT(differences.relative(), tolerance());
  EXPECT_LT(dots.relative(), 2e-6);
  diff.expect_untouched_outside();
}

void check_token_losses(Device& device, DType type, int64_t vocab, double tolerance) {
  Buffer student(device, DType::kF32, 5, vocab, vocab, Random(11, 6.0f)), teacher(device, DType::kF32, 5, vocab, vocab, Random(12, 6.0f));
  Buffer dlogits(device, type, 5, vocab);
  const List<int32_t> targets(device, std::vector<int32_t>{3, static_cast<int32_t>(vocab) - 1, -1, 0, 512});
  const List<double> kl(device, 5), lm(device, 5);
  const List<int32_t> best(device, 5);
  TokenLoss op;
  op.student = student.tensor();
  op.teacher = teacher.tensor();
  op.best = best.data();
  op.targets = targets.data();
  op.temperature = 2.0f / 3.0f;
  op.kl_gradient_scale = 0.3f;
  op.lm_gradient_scale = 0.9f;
  op.dlogits = dlogits.tensor();
  op.dlogits.stride = student.tensor().stride;
  op.kl_rows = kl.data();
  op.lm_rows = lm.data();
  device.run(op);
  const auto softmax = [&](const Buffer& b, int64_t n, double temperature) {
    std::vector<double> p(vocab);
    double sum = 0;
    for (int64_t j = 0; j < vocab; j++) sum += p[j] = std::exp(b.get(n, j) / temperature);
    for (double& v : p) v /= sum;
    return p;
  };
  ErrorSum gradient;
  for (int64_t n = 0; n < 5; n++) {
    const auto p = softmax(teacher, n, op.temperature), q = softmax(student, n, op.temperature), q1 = softmax(student, n, 1.0);
    double expected = 0;
    for (int64_t j = 0; j < vocab; j++) {
      expected += p[j] * std::log(p[j] / q[j]);
      const double lm_part = targets[n] < 0 ? 0.0 : 0.9f * (q1[j] - (j == targets[n]));
      gradient.add(dlogits.get(n, j), 0.3f * (q[j] - p[j]) + lm_part);
    }
    for (int64_t j = vocab; j < op.dlogits.stride; j++) EXPECT_EQ(dlogits.get(n, j), 0.0) << "behind the vocabulary";
    EXPECT_NEAR(kl[n], expected, 2e-6 * expected);
    EXPECT_EQ(best[n], std::max_element(q1.begin(), q1.end()) - q1.begin());
    EXPECT_NEAR(lm[n], targets[n] < 0 ? 0.0 : -std::log(q1[targets[n]]), 1e-5);
  }
  EXPECT_LT(gradient.relative(), tolerance);
}

TEST_P(ElementwiseOps, TokenLossesAtOddVocabularies) {
  for (const int64_t vocab : {1037, 5003}) check_token_losses(device, type(), vocab, tolerance());
}

TEST_P(ElementwiseOps, ASmallDivergenceIsNotLostInRounding) {
  constexpr int64_t kVocab = 1037;
  // Per row: how far apart the logits are; in the last one only a few.
  const std::vector<float> apart{1e-4f, 1e-3f, 1e-2f, 1.0f, 5.0f};
  Random changes(18);
  Buffer teacher(device, DType::kF32, 5, kVocab, kVocab, Random(17, 6.0f));
  Buffer student(device, DType::kF32, 5, kVocab, kVocab,
                 [&](int64_t n, int64_t j) { return teacher.get(n, j) + (n < 4 || j % 100 == 7 ? apart[n] * changes() : 0.0f); });
  const List<double> kl(device, 5);
  TokenLoss op;
  op.student = student.tensor();
  op.teacher = teacher.tensor();
  op.temperature = 2.0f / 3.0f;
  op.kl_rows = kl.data();
  op.dlogits.dtype = type();
  device.run(op);
  for (int64_t n = 0; n < 5; n++) {
    const auto log_sum = [&](const Buffer& b) {
      double sum = 0;
      for (int64_t j = 0; j < kVocab; j++) sum += std::exp(b.get(n, j) / op.temperature);
      return std::log(sum);
    };
    const double p_lse = log_sum(teacher), q_lse = log_sum(student);
    double expected = 0;
    for (int64_t j = 0; j < kVocab; j++) {
      const double p = teacher.get(n, j) / op.temperature - p_lse, q = student.get(n, j) / op.temperature - q_lse;
      expected += std::exp(p) * (std::expm1(q - p) - (q - p));
    }
    EXPECT_NEAR(kl[n], expected, 2e-5 * expected) << "logits " << apart[n] << " apart";
  }
}

TEST_P(ElementwiseOps, AdamWWithClampAndOddSize) {
  constexpr int64_t kSize = 1029;
  const std::vector<float> p0 = random_floats(kSize, 13), m0 = random_floats(kSize, 14), gradient = random_floats(kSize, 16);
  std::vector<float> v0 = random_floats(kSize, 15);
  for (float& x : v0) x = std::abs(x);
  const List<float> p(device, p0), m(device, m0), v(device, v0), g(device, gradient);
  AdamW op;
  op.param = p.data();
  op.m = m.data();
  op.v = v.data();
  op.gradient = g.data();
  op.size = kSize;
  op.learning_rate = 0.1f;
  op.bias_correction1 = 0.19f;
  op.bias_correction2 = 0.002f;
  op.gradient_scale = 0.5f;
  op.low = -0.9f;
  op.high = 0.9f;
  device.run(op);
  ErrorSum error;
  for (int64_t i = 0; i < kSize; i++) {
    const double gi = 0.5 * g[i], mi = 0.9f * static_cast<double>(m0[i]) + (1 - 0.9f) * gi,
                 vi = 0.999f * static_cast<double>(v0[i]) + (1 - 0.999f) * gi * gi;
    error.add(p[i], std::clamp(p0[i] - 0.1f * (mi / 0.19f) / (std::sqrt(vi / 0.002f) + 1e-8), -0.9, 0.9));
  }
  EXPECT_LT(error.relative(), 2e-6);
  double squares = 0;
  for (float x : gradient) squares += static_cast<double>(x) * x;
  const List<double> sum(device, 1);
  device.run(SquareSum{g.data(), kSize, sum.data()});
  EXPECT_NEAR(sum[0], squares, 1e-12 * squares);
}

}  // namespace espalier::test

// RMSNorm, SwiGLU, losses and AdamW against plain double loops, with odd row counts and padded widths.
#include <algorithm>

#include "op_fixture.h"

namespace espalier::test {

// A group of `hidden` units, of which `open` are open; `width` is that number with padding.
struct Size {
  int64_t rows, open, width, hidden;
};
// One row; sizes that fit into any block or warp; and a size whose rows have several parts and more columns than the threads of a block
// take at a time.
constexpr Size kOneRow{1, 43, 48, 61}, kSmall{37, 43, 48, 61}, kTwoWarps{7, 203, 208, 211}, kLarge{301, 1163, 1168, 1200};
// A row of this width needs 48 KiB of dynamic shared memory beside the static memory.
constexpr Size kWide{2, 12280, 12288, 12288};

class ElementwiseOps : public OpTest {
 protected:
  void check_norm(const Size& z, bool scales);
  void check_swiglu(const Size& z, Activation activation, bool scales);
  void check_layer_loss(const Size& z, bool student_scales, bool teacher_scales, bool relative);
};
INSTANTIATE_TEST_SUITE_P(All, ElementwiseOps, testing::ValuesIn(op_cases()), case_name);

// scales: x has factors.
void ElementwiseOps::check_norm(const Size& z, bool scales) {
  Buffer x(device, DType::kF32, z.rows, z.width, z.open, Random(1, 3.0f)), out(device, type(), z.rows, z.width),
      dx(device, DType::kF32, z.rows, z.width, z.open, Random(2));
  Buffer dout(device, DType::kF32, z.rows, z.width, z.open, Random(3)), dxc(device, type(), z.rows, z.width),
      diff(device, type(), z.rows, z.width, z.open, Random(4));
  const Buffer before = dx;
  List<float> weight(device, random_floats(z.width, 5)), rstd(device, z.rows), dot(device, z.width, 0.5f);
  const List<float> factors(device, random_floats(z.width, 20));
  const DevicePtr<const float> factor = scales ? factors.data() : DevicePtr<const float>();
  const auto input = [&](int64_t n, int64_t j) { return x.get(n, j) * (scales ? factors[j] : 1.0); };
  device.run(RmsNorm{x.tensor(), out.tensor(), rstd.data(), weight.data(), z.hidden, 1e-5f, factor});
  RmsNormBackward op;
  op.dout = dout.tensor();
  op.saved = x.tensor();
  op.rstd = rstd.data();
  op.weight = weight.data();
  op.width = z.hidden;
  op.dx = dx.tensor();
  op.loss_diff = diff.tensor();
  op.loss_scale = 0.7f;
  op.dx_compute = dxc.tensor();
  const List<float> scale(device, random_floats(z.width, 17));
  op.compute_scale = scale.data();
  op.mask_dot = dot.data();
  op.saved_scale = factor;
  device.run(op);
  // The gradient that is computed from the norm's own output is the same, up to its rounding.
  std::vector<float> inverses(z.width);
  for (int64_t j = 0; j < z.width; j++) inverses[j] = 1.0f / weight[j];
  const List<float> inverse(device, inverses), other_dot(device, z.width, 0.5f);
  const Buffer other = before;
  RmsNormBackward from_output = op;
  from_output.saved = out.tensor();
  from_output.weight_inverse = inverse.data();
  from_output.saved_scale = nullptr;
  from_output.dx = other.tensor();
  from_output.mask_dot = other_dot.data();
  device.run(from_output);
  ErrorSum agreement;
  for (int64_t n = 0; n < z.rows; n++)
    for (int64_t j = 0; j < z.width; j++) agreement.add(other.get(n, j), dx.get(n, j));
  EXPECT_LT(agreement.relative(), tolerance());
  ErrorSum forward, gradient, rounded, dots;
  std::vector<double> expected_dot(z.width, 0.5);
  for (int64_t n = 0; n < z.rows; n++) {
    double squares = 0, mean = 0;
    for (int64_t j = 0; j < z.open; j++) squares += input(n, j) * input(n, j);
    const double r = 1.0 / std::sqrt(squares / z.hidden + 1e-5);
    for (int64_t j = 0; j < z.open; j++) mean += dout.get(n, j) * weight[j] * input(n, j) * r / z.hidden;
    for (int64_t j = 0; j < z.width; j++) {
      const double xhat = input(n, j) * r, g = dout.get(n, j) * weight[j] - xhat * mean;
      forward.add(out.get(n, j), xhat * weight[j]);
      const double total = before.get(n, j) + g * r + 0.7f * diff.get(n, j);
      gradient.add(dx.get(n, j), total);
      rounded.add(dxc.get(n, j), scale[j] * total);
      expected_dot[j] += g * xhat;
    }
  }
  for (int64_t j = 0; j < z.width; j++) dots.add(dot[j], expected_dot[j]);
  // The result may lie in the memory of the layer loss's differences or of the norm's output.
  const Buffer over_diff = diff, over_saved = out;
  for (const Buffer* place : {&over_diff, &over_saved}) {
    const Buffer stream = before;
    RmsNormBackward in_place = place == &over_saved ? from_output : op;
    (place == &over_saved ? in_place.saved : in_place.loss_diff) = place->tensor();
    in_place.dx = stream.tensor();
    in_place.dx_compute = place->tensor();
    device.run(in_place);
    ErrorSum same;
    for (int64_t n = 0; n < z.rows; n++)
      for (int64_t j = 0; j < z.width; j++) same.add(place->get(n, j), dxc.get(n, j));
    EXPECT_LT(same.relative(), place == &over_diff ? tolerance() : 1e-12);
  }
  EXPECT_LT(forward.relative(), tolerance());
  EXPECT_LT(gradient.relative(), 2e-6);
  EXPECT_LT(rounded.relative(), tolerance());
  EXPECT_LT(dots.relative(), 2e-6);
  for (const Buffer* b : {&out, &dx, &dxc}) b->expect_untouched_outside();
}

// Each function returns an activation and its derivative.
std::pair<double, double> silu(double g) {
  const double s = 1 / (1 + std::exp(-g));
  return {g * s, s + g * s * (1 - s)};
}
std::pair<double, double> gelu_tanh(double g) {
  const double root = std::sqrt(2 / std::acos(-1.0)), t = std::tanh(root * (g + 0.044715 * g * g * g));
  return {g / 2 * (1 + t), (1 + t) / 2 + g / 2 * (1 - t * t) * root * (1 + 3 * 0.044715 * g * g)};
}

// scales: the op scales gate and up; otherwise they are scaled already.
void ElementwiseOps::check_swiglu(const Size& z, Activation activation, bool scales) {
  // There are large values of both signs too: silu must not overflow.
  Random values(6, 8.0f);
  Buffer gate_up(device, type(), z.rows, 2 * z.width, 2 * z.width,
                 [&](int64_t i, int64_t j) { return i == 0 ? (j % 2 ? 200.0f : -200.0f) : values(); });
  Buffer out(device, type(), z.rows, z.width), dout(device, type(), z.rows, z.width, z.open, Random(7)),
      dgate_up(device, type(), z.rows, 2 * z.width), again(device, type(), z.rows, z.width);
  const List<float> dot(device, z.width);
  const List<float> scale(device, random_floats(z.width, 18));
  device.run(Swiglu{gate_up.tensor(), out.tensor(), activation, scales ? scale.data() : nullptr});
  device.run(
      SwigluBackward{gate_up.tensor(), dout.tensor(), dgate_up.tensor(), again.tensor(), dot.data(), scale.data(), activation, scales});
  const List<float> dot_of_out(device, z.width);
  const Buffer gate_up_in_place = gate_up, out_in_place = dout;
  device.run(SwigluBackward{gate_up_in_place.tensor(), out_in_place.tensor(), gate_up_in_place.tensor(), out_in_place.tensor(),
                            dot_of_out.data(), scale.data(), activation, scales, true});
  ErrorSum forward, gate_error, up_error, dots, dots_of_out;
  std::vector<double> expected_dot(z.width, 0.0), expected_dot_of_out(z.width, 0.0);
  for (int64_t n = 0; n < z.rows; n++)
    for (int64_t j = 0; j < z.width; j++) {
      const double read = scales ? scale[j] : 1.0, d = dout.get(n, j);
      const double g = read * gate_up.get(n, j), u = read * gate_up.get(n, z.width + j);
      const auto [active, slope] = activation == Activation::kSilu ? silu(g) : gelu_tanh(g);
      const double dg = d * u * slope, du = d * active;
      forward.add(out.get(n, j), active * u);
      EXPECT_EQ(out.get(n, j), again.get(n, j));
      EXPECT_EQ(out.get(n, j), out_in_place.get(n, j));
      EXPECT_EQ(dgate_up.get(n, j), gate_up_in_place.get(n, j));
      EXPECT_EQ(dgate_up.get(n, z.width + j), gate_up_in_place.get(n, z.width + j));
      gate_error.add(dgate_up.get(n, j), scale[j] * dg);
      up_error.add(dgate_up.get(n, z.width + j), scale[j] * du);
      expected_dot[j] += dg * g + du * u;
      expected_dot_of_out[j] += d * active * u;
    }
  for (int64_t j = 0; j < z.width; j++) {
    dots.add(dot[j], expected_dot[j]);
    dots_of_out.add(dot_of_out[j], expected_dot_of_out[j]);
  }
  EXPECT_LT(forward.relative(), tolerance());
  EXPECT_LT(gate_error.relative(), tolerance());
  EXPECT_LT(up_error.relative(), tolerance());
  EXPECT_LT(dots.relative(), 2e-6);
  EXPECT_LT(dots_of_out.relative(), 2e-6);
  for (const Buffer* b : {&out, &dgate_up, &again}) b->expect_untouched_outside();
}

void ElementwiseOps::check_layer_loss(const Size& z, bool student_scales, bool teacher_scales, bool relative) {
  const int64_t teacher_width = z.width * 2 / 3 / kWidthMultiple * kWidthMultiple;
  Buffer student(device, DType::kF32, z.rows, z.width, z.open, Random(8)),
      teacher(device, DType::kF32, z.rows, teacher_width, teacher_width, Random(9)), diff(device, type(), z.rows, z.width);
  std::vector<int32_t> matches(z.width, -1);
  for (int32_t j = 0; j < teacher_width - 2; j++) matches[j + j / 3] = j;
  std::vector<float> scales = random_floats(z.width, 10);
  for (int64_t j = 0; j < z.width; j++)
    if (j >= z.open || j % 7 == 0) scales[j] = 0.0f;  // closed, though it is part of the products
  const List<int32_t> match(device, matches);
  const List<float> scale(device, scales), dot(device, z.width);
  const List<double> sum(device, 1);
  const List<float> of_student(device, random_floats(z.width, 21)), of_teacher(device, random_floats(z.width, 22));
  const DevicePtr<const float> student_factor = student_scales ? of_student.data() : DevicePtr<const float>(),
                               teacher_factor = teacher_scales ? of_teacher.data() : DevicePtr<const float>();
  const auto in_student = [&](int64_t n, int64_t j) { return student.get(n, j) * (student_scales ? of_student[j] : 1.0); };
  const auto in_teacher = [&](const Buffer& b, int64_t n, int64_t j) { return b.get(n, j) * (teacher_scales ? of_teacher[j] : 1.0); };
  device.run(LayerLoss{student.tensor(), teacher.tensor(), match.data(), scale.data(), diff.tensor(), sum.data(), dot.data(),
                       student_factor, teacher_factor, relative});
  const auto weight = [&](int64_t n, auto&& teacher_at) {
    double energy = 0;
    for (int64_t j = 0; j < z.width; j++)
      if (scale[j] != 0.0f) energy += teacher_at(n, j) * teacher_at(n, j);
    return !relative ? 1.0 : energy > 0 ? 1 / energy : 0.0;
  };
  const auto matched = [&](int64_t n, int64_t j) { return match[j] < 0 ? 0.0 : in_teacher(teacher, n, match[j]); };
  double expected = 0;
  ErrorSum differences, dots;
  std::vector<double> expected_dot(z.width, 0.0);
  for (int64_t n = 0; n < z.rows; n++)
    for (int64_t j = 0; j < z.width; j++) {
      const double d = scale[j] == 0.0f ? 0.0 : in_student(n, j) - matched(n, j), weighted = d * weight(n, matched);
      expected += d * weighted;
      differences.add(diff.get(n, j), weighted);
      expected_dot[j] += weighted * in_student(n, j);
    }
  for (int64_t j = 0; j < z.width; j++) dots.add(dot[j], expected_dot[j]);
  EXPECT_NEAR(sum[0], expected, 2e-6 * expected);
  EXPECT_LT(differences.relative(), tolerance());
  EXPECT_LT(dots.relative(), 2e-6);
  diff.expect_untouched_outside();
  // A teacher that has the same units open.
  const Buffer same(device, DType::kF32, z.rows, z.width, z.open, Random(19));
  device.run(LayerLoss{student.tensor(), same.tensor(), nullptr, scale.data(), diff.tensor(), sum.data(), dot.data(), student_factor,
                       teacher_factor, relative});
  const auto at_same_place = [&](int64_t n, int64_t j) { return in_teacher(same, n, j); };
  double squares = 0;
  ErrorSum of_same;
  for (int64_t n = 0; n < z.rows; n++)
    for (int64_t j = 0; j < z.width; j++) {
      const double d = scale[j] == 0.0f ? 0.0 : in_student(n, j) - in_teacher(same, n, j), weighted = d * weight(n, at_same_place);
      squares += d * weighted;
      of_same.add(diff.get(n, j), weighted);
    }
  EXPECT_NEAR(sum[0], squares, 2e-6 * squares);
  EXPECT_LT(of_same.relative(), tolerance());
}

TEST_P(ElementwiseOps, RmsNormAndItsGradient) {
  for (const Size& z : {kOneRow, kSmall, kTwoWarps, kLarge, kWide}) check_norm(z, false);
  for (const Size& z : {kOneRow, kSmall, kLarge}) check_norm(z, true);
}
TEST_P(ElementwiseOps, SwigluAndItsGradient) {
  for (const Size& z : {kOneRow, kSmall, kTwoWarps, kLarge}) {
    check_swiglu(z, Activation::kSilu, false);
    check_swiglu(z, Activation::kSilu, true);
  }
}
TEST_P(ElementwiseOps, GegluAndItsGradient) {
  for (const Size& z : {kOneRow, kSmall, kTwoWarps, kLarge}) {
    check_swiglu(z, Activation::kGeluTanh, false);
    check_swiglu(z, Activation::kGeluTanh, true);
  }
}
TEST_P(ElementwiseOps, LayerLossOverDifferentOpenUnits) {
  for (const Size& z : {kOneRow, kSmall, kTwoWarps, kLarge}) check_layer_loss(z, false, false, false);
  for (const auto& [student, teacher] : {std::pair{true, false}, {false, true}, {true, true}})
    check_layer_loss(kSmall, student, teacher, false);
}
TEST_P(ElementwiseOps, LayerLossOfEachTokenOverTheTeachersSquares) {
  for (const Size& z : {kOneRow, kSmall, kTwoWarps}) check_layer_loss(z, false, false, true);
  for (const auto& [student, teacher] : {std::pair{true, false}, {false, true}, {true, true}})
    check_layer_loss(kSmall, student, teacher, true);
}

// cap: of the logits; 0: none. It changes the gradient, and nothing else.
void check_token_losses(Device& device, DType type, int64_t vocab, double tolerance, float cap = 0) {
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
  op.logits_cap = cap;
  device.run(op);
  const auto slope = [&](int64_t n, int64_t j) { return cap > 0 ? 1 - std::pow(student.get(n, j) / cap, 2) : 1; };
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
      gradient.add(dlogits.get(n, j), slope(n, j) * (0.3f * (q[j] - p[j]) + lm_part));
    }
    for (int64_t j = vocab; j < op.dlogits.stride; j++) EXPECT_EQ(dlogits.get(n, j), 0.0) << "behind the vocabulary";
    EXPECT_NEAR(kl[n], expected, 2e-6 * expected);
    EXPECT_EQ(best[n], std::max_element(q1.begin(), q1.end()) - q1.begin());
    EXPECT_NEAR(lm[n], targets[n] < 0 ? 0.0 : -std::log(q1[targets[n]]), 1e-5);
  }
  EXPECT_LT(gradient.relative(), tolerance);
  // Computes each of the two losses by itself.
  for (const bool distills : {true, false}) {
    TokenLoss one = op;
    if (distills)
      one.targets = nullptr, one.lm_rows = nullptr;
    else
      one.teacher = {}, one.kl_rows = nullptr;
    device.run(one);
    ErrorSum apart;
    for (int64_t n = 0; n < 5; n++) {
      const auto p = softmax(teacher, n, op.temperature), q = softmax(student, n, op.temperature), q1 = softmax(student, n, 1.0);
      for (int64_t j = 0; j < vocab; j++)
        apart.add(dlogits.get(n, j), slope(n, j) * (distills         ? 0.3f * (q[j] - p[j])
                                                    : targets[n] < 0 ? 0.0
                                                                     : 0.9f * (q1[j] - (j == targets[n]))));
      if (!distills) {
        EXPECT_NEAR(lm[n], targets[n] < 0 ? 0.0 : -std::log(q1[targets[n]]), 1e-5);
      }
    }
    EXPECT_LT(apart.relative(), tolerance) << (distills ? "distillation" : "language-model loss");
  }
}

TEST_P(ElementwiseOps, TokenLossesAtOddVocabularies) {
  for (const int64_t vocab : {1037, 5003}) check_token_losses(device, type(), vocab, tolerance());
}

TEST_P(ElementwiseOps, TokenLossesOfCappedLogits) { check_token_losses(device, type(), 1037, tolerance(), 7.0f); }

// Small values keep their digits, and values beyond the cap come near it.
TEST_P(ElementwiseOps, SoftCaps) {
  constexpr int64_t kRows = 5, kCols = 1037;
  for (const float cap : {30.0f, 0.7f}) {
    const auto value = [](int64_t n, int64_t j) {
      return std::pow(10.0f, static_cast<float>(2 * n) - 5.0f) * static_cast<float>(j - 500) / 100.0f;
    };
    const Buffer x(device, DType::kF32, kRows, kCols, kCols, value);
    device.run(SoftCap{x.tensor(), cap});
    for (int64_t n = 0; n < kRows; n++)
      for (int64_t j = 0; j < kCols; j++) {
        const double expected = capped(value(n, j), cap);
        ASSERT_NEAR(x.get(n, j), expected, 1e-6 * std::abs(expected)) << "row " << n << ", column " << j << ", cap " << cap;
      }
    x.expect_untouched_outside();
  }
}

// Only differences between logits count, however large all of them are.
TEST_P(ElementwiseOps, LogitsMayLieFarFromZero) {
  constexpr int64_t kVocab = 1037;
  const std::vector<float> offsets{0.0f, 400.0f, -700.0f};
  Random values(20, 3.0f);
  const Buffer student(device, DType::kF32, 3, kVocab, kVocab, [&](int64_t n, int64_t) { return values() + offsets[n]; }),
      teacher(device, DType::kF32, 3, kVocab, kVocab, [&](int64_t n, int64_t) { return values() - offsets[n]; });
  const List<int32_t> targets(device, std::vector<int32_t>{3, 5, 7});
  const List<double> kl(device, 3), lm(device, 3);
  TokenLoss op;
  op.student = student.tensor();
  op.teacher = teacher.tensor();
  op.targets = targets.data();
  op.temperature = 0.8f;
  op.kl_rows = kl.data();
  op.lm_rows = lm.data();
  op.dlogits.dtype = type();
  device.run(op);
  for (int64_t n = 0; n < 3; n++) {
    const auto log_sum = [&](const Buffer& b, double shift, double temperature) {
      double sum = 0;
      for (int64_t j = 0; j < kVocab; j++) sum += std::exp((b.get(n, j) - shift) / temperature);
      return std::log(sum) + shift / temperature;
    };
    const double t = op.temperature, p_sum = log_sum(teacher, -offsets[n], t), q_sum = log_sum(student, offsets[n], t);
    double expected = 0;
    for (int64_t j = 0; j < kVocab; j++) {
      const double p = teacher.get(n, j) / t - p_sum, q = student.get(n, j) / t - q_sum;
      expected += std::exp(p) * (p - q);
    }
    EXPECT_NEAR(kl[n], expected, 1e-3 * expected) << offsets[n];
    EXPECT_NEAR(lm[n], log_sum(student, offsets[n], 1.0) - student.get(n, targets[n]), 1e-3) << offsets[n];
  }
}

// The first of equal logits wins, whichever thread holds it.
TEST_P(ElementwiseOps, TheLikeliestTokenIsFoundWhereverItIs) {
  constexpr int64_t kVocab = 1037, kRows = 40;
  const auto place = [](int64_t n) { return n * 29 % kVocab; };
  const Buffer student(device, DType::kF32, kRows, kVocab, kVocab, [&](int64_t n, int64_t j) {
    return j >= place(n) && (j - place(n)) % 100 == 0 ? 3.0f : static_cast<float>((j * 37 + n) % 11) / 8.0f;
  });
  const List<int32_t> targets(device, kRows, 5), best(device, kRows);
  const List<double> lm(device, kRows);
  TokenLoss op;
  op.student = student.tensor();
  op.targets = targets.data();
  op.lm_rows = lm.data();
  op.best = best.data();
  op.dlogits.dtype = type();
  device.run(op);
  for (int64_t n = 0; n < kRows; n++) EXPECT_EQ(best[n], place(n)) << n;
}

TEST_P(ElementwiseOps, ASmallDivergenceIsNotLostInRounding) {
  constexpr int64_t kVocab = 1037;
  // How far the logits of each row are apart; in the last row only a few differ.
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
  ErrorSum error, first, second;
  for (int64_t i = 0; i < kSize; i++) {
    const double gi = 0.5 * g[i], mi = 0.9f * static_cast<double>(m0[i]) + (1 - 0.9f) * gi,
                 vi = 0.999f * static_cast<double>(v0[i]) + (1 - 0.999f) * gi * gi;
    first.add(m[i], mi);
    second.add(v[i], vi);
    error.add(p[i], std::clamp(p0[i] - 0.1f * (mi / 0.19f) / (std::sqrt(vi / 0.002f) + 1e-8), -0.9, 0.9));
  }
  EXPECT_LT(error.relative(), 2e-6);
  EXPECT_LT(first.relative(), 2e-7);
  EXPECT_LT(second.relative(), 2e-6);
  double squares = 0;
  for (float x : gradient) squares += static_cast<double>(x) * x;
  const List<double> sum(device, 1);
  device.run(SquareSum{g.data(), kSize, sum.data()});
  EXPECT_NEAR(sum[0], squares, 1e-12 * squares);
}

// Without bounds only the gradients move the parameters, and a step is as long as the learning rate says.
TEST_P(ElementwiseOps, AdamWWithoutBounds) {
  constexpr int64_t kSize = 300;
  const std::vector<float> p0 = random_floats(kSize, 23, 3.0f), gradient = random_floats(kSize, 24);
  const List<float> p(device, p0), m(device, kSize), v(device, kSize), g(device, gradient);
  AdamW op;
  op.param = p.data();
  op.m = m.data();
  op.v = v.data();
  op.gradient = g.data();
  op.size = kSize - 1;
  op.learning_rate = 0.25f;
  op.bias_correction1 = 1.0f - op.beta1;
  op.bias_correction2 = 1.0f - op.beta2;
  op.eps = 0.5f;
  device.run(op);
  // In the first step both moments are those of the gradient alone, so the step is the gradient's sign, but for eps.
  for (int64_t i = 0; i < kSize - 1; i++) {
    const double gi = g[i], expected = p0[i] - 0.25 * gi / (std::abs(gi) + 0.5);
    ASSERT_NEAR(p[i], expected, 2e-6 * std::abs(expected) + 1e-6) << i;
  }
  EXPECT_EQ(p[kSize - 1], p0[kSize - 1]);
}

// Several blocks share the sum, and its last part is not full.
TEST_P(ElementwiseOps, SquareSumOfManyValues) {
  constexpr int64_t kSize = 200003;
  const std::vector<float> values = random_floats(kSize, 25);
  const List<float> on_device(device, values);
  const List<double> sum(device, 1);
  device.run(SquareSum{on_device.data(), kSize, sum.data()});
  double squares = 0;
  for (const float x : values) squares += static_cast<double>(x) * x;
  EXPECT_NEAR(sum[0], squares, 1e-12 * squares);
}

}  // namespace espalier::test

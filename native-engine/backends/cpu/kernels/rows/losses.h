// The layer loss between two residual streams, and token losses from logits.
#pragma once
#include "simd.h"

namespace espalier::cpu::ESPALIER_ISA {

static inline vf take(const float* row, const int32_t* cols) {
  float lanes[W];
  for (int i = 0; i < W; i++) lanes[i] = cols[i] < 0 ? 0.0f : row[cols[i]];
  return load(lanes);
}

template <class T, bool scales>
static double layer_loss_of(const LayerLoss& op, int64_t begin, int64_t end, float* mask_dot) {
  const vf zero = {};
  const int32_t* teacher_cols = host(op.teacher_cols);
  const float* student_scale = host(op.student_scale);
  const float *student_factor = host(op.student_factor), *teacher_factor = host(op.teacher_factor);
  double sum = 0;
  for (int64_t n = begin; n < end; n++) {
    const float* s = row_ptr<float>(op.student, n);
    const float* t = row_ptr<float>(op.teacher, n);
    T* diff = row_ptr<T>(op.diff, n);
    const auto teacher_at = [&](int64_t j) {
      vf b = teacher_cols ? take(t, teacher_cols + j) : load(t + j);
      if (scales && teacher_factor) b *= teacher_cols ? take(teacher_factor, teacher_cols + j) : load(teacher_factor + j);
      return b;
    };
    float weight = 1;
    if (op.relative) {
      vf energies = {};
      for (int64_t j = 0; j < op.student.cols; j += W) {
        const vf b = load(student_scale + j) != zero ? teacher_at(j) : zero;
        energies += b * b;
      }
      const float energy = sum_lanes(energies);
      weight = energy > 0 ? 1 / energy : 0;
    }
    vf squares = {};
    for (int64_t j = 0; j < op.student.cols; j += W) {
      vf a = load(s + j);
      if (scales && student_factor) a *= load(student_factor + j);
      const vf d = load(student_scale + j) != zero ? a - teacher_at(j) : zero, weighted = d * weight;
      squares += d * weighted;
      store(mask_dot + j, load(mask_dot + j) + weighted * a);
      store(diff + j, weighted);
    }
    sum += sum_lanes(squares);
  }
  return sum;
}

static void layer_loss(const LayerLoss& op, int64_t begin, int64_t end, double* sum, float* mask_dot_part) {
  with_compute_type(op.diff.dtype, [&](auto t) {
    with_constant(op.student_factor || op.teacher_factor,
                  [&](auto scales) { *sum = layer_loss_of<decltype(t), scales.value>(op, begin, end, mask_dot_part); });
  });
}

static void soft_cap(const SoftCap& op, int64_t begin, int64_t end) {
  for (int64_t n = begin; n < end; n++) {
    float* row = row_ptr<float>(op.x, n);
    int64_t j = 0;
    for (; j + W <= op.x.cols; j += W) store(row + j, soft_cap(load(row + j), op.cap));
    if (j < op.x.cols) store_part(row + j, soft_cap(load_part(row + j, op.x.cols - j), op.cap), op.x.cols - j);
  }
}

// The sum of 2^(x * scale - shift), where shift is the largest x * scale. A probability is 2^(x * scale - shift) / sum, with the same
// rounding as in the sum. So probabilities add up to 1 even where student and teacher nearly agree and their difference matters.
struct Softmax {
  float shift = 0, sum = 0;
  // The base-2 logarithm of the whole sum, in double, because the difference of two of them decides a small loss.
  double log2_sum() const { return static_cast<double>(shift) + __builtin_log2(static_cast<double>(sum)); }
};

static Softmax softmax_of(const float* x, int64_t count, float scale) {
  const int64_t whole = count / W * W, rest = count - whole;
  vf top = splat(-__builtin_inff());
  for (int64_t j = 0; j < whole; j += W) top = vmax(load(x + j), top);
  float highest = max_lanes(top);
  for (int64_t j = whole; j < count; j++) highest = x[j] > highest ? x[j] : highest;
  const float shift = highest * scale;
  vf sums[2] = {};
  int64_t j = 0;
  for (; j < whole; j += W) sums[(j / W) & 1] += exp2v(load(x + j) * scale - shift);
  if (rest) {
    const vf e = exp2v(load_part(x + j, rest) * scale - shift);
    sums[0] += lane_index() < static_cast<int32_t>(rest) ? e : vf{};
  }
  return {shift, sum_lanes(sums[0] + sums[1])};
}

// The distillation loss of one token: KL(p
// q), where p = softmax(teacher / temperature) and q = softmax(student / temperature); gradient_scale * (q - p) goes to dlogits. With v =
// log2(q / p) the divergence is the sum of p (2^v - 1 - v ln 2), since p and q both add up to 1. No term is negative, so a small sum is
// neither the rest of large terms that cancel nor the rounding error of the logarithms' difference.
template <bool caps, class T>
static double distill_row(const float* student, const float* teacher, int64_t count, float temperature, float gradient_scale, float cap,
                          T* dlogits) {
  const float scale = kLog2e / temperature;
  const Softmax ps = softmax_of(teacher, count, scale), qs = softmax_of(student, count, scale);
  const float p_share = 1.0f / ps.sum, q_share = 1.0f / qs.sum;
  const float lse_difference = static_cast<float>(ps.log2_sum() - qs.log2_sum());
  double total = 0, mass = 0;
  vf totals = {}, masses = {};
  for (int64_t j = 0; j < count; j += W) {
    const int64_t n = count - j < W ? count - j : W;
    const vf s = n == W ? load(student + j) : load_part(student + j, n);
    const vf t = n == W ? load(teacher + j) : load_part(teacher + j, n);
    vf p = exp2v(t * scale - ps.shift) * p_share, q = exp2v(s * scale - qs.shift) * q_share;
    if (n < W) {
      p = lane_index() < static_cast<int32_t>(n) ? p : vf{};
      q = lane_index() < static_cast<int32_t>(n) ? q : vf{};
    }
    const vf v = (s - t) * scale + lse_difference;
    const vf near = p * (v * v * exp2_curvature(v)), far = q - p - p * (v * kLn2);
    totals += v * v <= splat(0.25f) ? near : far;
    masses += p;
    if (dlogits) {
      vf g = (q - p) * gradient_scale;
      if (caps) g *= soft_cap_slope(s, cap);
      n == W ? store(dlogits + j, g) : store_part(dlogits + j, g, n);
    }
    if ((j / W & 63) == 63 || j + W >= count) {
      total += sum_lanes(totals);
      mass += sum_lanes(masses);
      totals = masses = vf{};
    }
  }
  return total / mass;
}

template <bool caps, class T>
static double language_model_row(const float* logits, int64_t count, int32_t target, float gradient_scale, float cap, bool add,
                                 T* dlogits) {
  if (target < 0) {
    if (dlogits && !add) std::memset(dlogits, 0, count * sizeof(T));
    return 0;
  }
  const Softmax qs = softmax_of(logits, count, kLog2e);
  const float share = 1.0f / qs.sum;
  for (int64_t j = 0; dlogits && j < count; j += W) {
    const int64_t n = count - j < W ? count - j : W;
    const vf x = n == W ? load(logits + j) : load_part(logits + j, n);
    vf q = exp2v(x * kLog2e - qs.shift) * share;
    if (target >= j && target < j + n) q[target - j] -= 1.0f;
    q *= gradient_scale;
    if (caps) q *= soft_cap_slope(x, cap);
    if (add) q += n == W ? load(dlogits + j) : load_part(dlogits + j, n);
    n == W ? store(dlogits + j, q) : store_part(dlogits + j, q, n);
  }
  return (qs.log2_sum() - static_cast<double>(logits[target]) * kLog2e) * 0.69314718055994530942;
}

static int32_t largest_of(const float* x, int64_t count) {
  int64_t best = 0;
  for (int64_t j = 1; j < count; j++) best = x[j] > x[best] ? j : best;
  return static_cast<int32_t>(best);
}

template <bool caps, class T>
static void token_loss_of(const TokenLoss& op, int64_t row) {
  T* dlogits = op.dlogits ? row_ptr<T>(op.dlogits, row) : nullptr;
  const float *student = row_ptr<float>(op.student, row), *teacher = op.teacher ? row_ptr<float>(op.teacher, row) : nullptr;
  const int64_t count = op.student.cols;
  if (teacher)
    host(op.kl_rows)[row] = distill_row<caps>(student, teacher, count, op.temperature, op.kl_gradient_scale, op.logits_cap, dlogits);
  if (op.targets)
    host(op.lm_rows)[row] =
        language_model_row<caps>(student, count, host(op.targets)[row], op.lm_gradient_scale, op.logits_cap, teacher != nullptr, dlogits);
  if (op.best) host(op.best)[row] = largest_of(student, count);
  if (dlogits)
    for (int64_t j = count; j < op.dlogits.stride; j++) dlogits[j] = T{};
}

static void token_loss(const TokenLoss& op, int64_t row) {
  with_compute_type(op.dlogits.dtype, [&](auto type) {
    with_constant(op.logits_cap > 0, [&](auto caps) { token_loss_of<caps.value, decltype(type)>(op, row); });
  });
}

}  // namespace espalier::cpu::ESPALIER_ISA

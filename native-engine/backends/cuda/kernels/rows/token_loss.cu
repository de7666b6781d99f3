// Losses of a chunk of tokens from their logits [C, V] f32, and the gradient by the student's logits.
//
// A block has one token and makes two passes over its row. The first finds the largest logit and the sums of exponentials together: a
// thread that meets a larger logit rescales its sums. The second computes probabilities, losses and the gradient, which is rounded once. A
// row of 128 thousand logits does not stay in a multiprocessor, so the kernel costs its passes over memory. V is any number and rows begin
// anywhere, so a thread takes one value at a time, and a warp 32 neighbours. The columns between V and the gradient's stride become 0.
//
// Probabilities are 2^(x scale - shift) / sum with the same rounding as in the sum, so that they add up to 1 even where student and teacher
// nearly agree. With v = log2(q / p) the divergence is the sum of p (2^v - 1 - v ln 2), since p and q both add up to 1. No term is
// negative, so a small sum is not the rest of large terms that cancel. Sums over the vocabulary are in double.
#include "cuda_backend.h"
#include "exp2.h"
#include "reduce.h"

namespace espalier::cuda::ESPALIER_TARGET {

inline constexpr int kTokenThreads = 512, kTogether = 4;

template <class T>
struct TokenLossArguments {
  Matrix<float> student, teacher;  // without a teacher there is no distillation
  const int32_t* targets;          // nullptr: there is no language-model loss
  Matrix<T> dlogits;               // empty where no gradient is wanted
  double *kl_rows, *lm_rows;
  int32_t* best;  // nullptr where it is not wanted
  int64_t count;
  float scale;  // log2(e) / temperature
  float kl_gradient_scale, lm_gradient_scale;
  SoftCapBy cap;
};

// Returns the largest value in the block. `space` is free again after the next barrier.
__device__ __forceinline__ float block_max(float v, float* space) {
  for (int distance = 16; distance > 0; distance /= 2) {
    const float other = shuffle_xor(v, distance);
    v = other > v ? other : v;
  }
  if (threadIdx.x % kWarpSize == 0) shared_store(space + threadIdx.x / kWarpSize, v);
  __syncthreads();
  float most = shared_load(space);
  for (int w = 1; w < kTokenThreads / kWarpSize; w++) {
    const float other = shared_load(space + w);
    most = other > most ? other : most;
  }
  return most;
}

// Returns the column of the row's largest logit, the first one of equal logits. `space` must be free, and is free again after the next
// barrier.
__device__ __forceinline__ int32_t largest_of(const float* x, int64_t count, float* space) {
  float most = -INFINITY;
  int64_t first = count;
  for (int64_t j = threadIdx.x; j < count; j += kTokenThreads) {
    const float v = load(x + j);
    if (v > most || first == count) {
      most = v;
      first = j;
    }
  }
  const float highest = block_max(most, space);
  __syncthreads();
  // Columns are exact in f32, since a vocabulary has fewer than 2^24 tokens.
  const float nearest = block_max(most == highest ? -static_cast<float>(first) : -static_cast<float>(count), space);
  return static_cast<int32_t>(-nearest);
}

// The softmax of a row: share is 1 / the sum of 2^(x scale - shift), where shift is the largest x scale.
struct Softmax {
  float scale, shift = 0, share = 0;
  double log2_sum = 0;  // the base-2 logarithm of the sum of 2^(x scale)
  __device__ float probability(float x) const { return exact_exp2(x * scale - shift) * share; }
};

// Computes the softmaxes of one row at several scales and reads the row once.
template <int Count>
__device__ __forceinline__ void softmax_of(const float* x, int64_t count, Softmax* (&of)[Count], float* floats, double* doubles) {
  const float lowest = -1e30f;  // stays a finite number when it is multiplied by a scale
  float most = lowest;
  double sums[Count] = {};
  for (int64_t first = threadIdx.x; first < count; first += kTokenThreads * kTogether) {
    float v[kTogether];
    SIMT_UNROLL
    for (int i = 0; i < kTogether; i++) {
      const int64_t j = first + i * kTokenThreads;
      v[i] = j < count ? load(x + j) : -INFINITY;
    }
    float higher = most;
    SIMT_UNROLL
    for (int i = 0; i < kTogether; i++) higher = v[i] > higher ? v[i] : higher;
    SIMT_UNROLL
    for (int c = 0; c < Count; c++) {
      const float scale = of[c]->scale, shift = higher * scale;
      if (higher > most) sums[c] *= exact_exp2(most * scale - shift);
      float part = 0;
      SIMT_UNROLL
      for (int i = 0; i < kTogether; i++) part += exact_exp2(v[i] * scale - shift);
      sums[c] += part;
    }
    most = higher;
  }
  const float highest = block_max(most, floats);
  SIMT_UNROLL
  for (int c = 0; c < Count; c++) {
    const float scale = of[c]->scale;
    of[c]->shift = highest * scale;
    const double sum = block_sum(sums[c] * exact_exp2(most * scale - of[c]->shift), doubles);
    of[c]->share = static_cast<float>(1.0 / sum);
    of[c]->log2_sum = static_cast<double>(of[c]->shift) + log2(sum);
  }
}

template <class T, bool Caps>
__global__ void __launch_bounds__(kTokenThreads) token_loss_kernel(TokenLossArguments<T> a) {
  SIMT_SHARED(float, floats, kMostWarps);
  SIMT_SHARED(double, doubles, kMostWarps);
  const int64_t n = blockIdx.x;
  const float* student = a.student.row(n);
  const bool distills = a.teacher.data != nullptr;
  const float* teacher = distills ? a.teacher.row(n) : student;
  const int64_t target = a.targets ? load(a.targets + n) : -1;
  Softmax p{a.scale}, q{a.scale}, plain{kLog2e};
  if (distills) {
    Softmax* of_teacher[] = {&p};
    softmax_of(teacher, a.count, of_teacher, floats, doubles);
  }
  if (distills && target >= 0) {
    Softmax* both[] = {&q, &plain};
    softmax_of(student, a.count, both, floats, doubles);
  } else if (distills) {
    Softmax* at_temperature[] = {&q};
    softmax_of(student, a.count, at_temperature, floats, doubles);
  } else if (target >= 0) {
    Softmax* as_it_is[] = {&plain};
    softmax_of(student, a.count, as_it_is, floats, doubles);
  }
  const float lse_difference = static_cast<float>(p.log2_sum - q.log2_sum);
  T* dlogits = a.dlogits.data ? a.dlogits.row(n) : nullptr;
  double total = 0;
  for (int64_t j = threadIdx.x; j < a.count && (distills || dlogits); j += kTokenThreads) {
    const float s = load(student + j);
    float gradient = 0;
    if (distills) {
      const float t = load(teacher + j), pj = p.probability(t), qj = q.probability(s);
      const float v = (s - t) * a.scale + lse_difference;
      total += v * v <= 0.25f ? pj * (v * v * exp2_curvature(v)) : qj - pj - pj * (v * kLn2);
      gradient = (qj - pj) * a.kl_gradient_scale;
    }
    if (target >= 0) gradient += (plain.probability(s) - (j == target ? 1.0f : 0.0f)) * a.lm_gradient_scale;
    if constexpr (Caps) gradient *= a.cap.slope(s);
    if (dlogits) store1(dlogits + j, gradient);
  }
  if (dlogits)
    for (int64_t j = a.count + threadIdx.x; j < a.dlogits.stride; j += kTokenThreads) store1(dlogits + j, 0.0f);
  if (distills) total = block_sum(total, doubles);
  const int32_t best = a.best ? largest_of(student, a.count, floats) : 0;
  if (threadIdx.x != 0) return;
  if (a.best) store(a.best + n, best);
  if (distills) store(a.kl_rows + n, total);
  if (a.targets)
    store(a.lm_rows + n,
          target < 0 ? 0.0 : (plain.log2_sum - static_cast<double>(load(student + target)) * kLog2e) * 0.69314718055994530942);
}

void CudaBackend::launch(const TokenLoss& op) {
  const int64_t rows = op.student.rows, count = op.student.cols;
  if (rows == 0) return;
  with_compute_type(op.dlogits.dtype, [&](auto t) {
    using T = decltype(t);
    const TokenLossArguments<T> a{any_matrix<float>(op.student, count),
                                  any_matrix<float>(op.teacher, count),
                                  list(op.targets, rows),
                                  any_matrix<T>(op.dlogits, op.dlogits.stride),
                                  list(op.kl_rows, rows),
                                  list(op.lm_rows, rows),
                                  list(op.best, rows),
                                  count,
                                  kLog2e / op.temperature,
                                  op.kl_gradient_scale,
                                  op.lm_gradient_scale,
                                  SoftCapBy(op.logits_cap)};
    with_cap(op.logits_cap, [&](auto caps) {
      launch_kernel("token_loss", token_loss_kernel<T, caps.value>, dim3(static_cast<unsigned>(rows)), dim3(kTokenThreads), 0,
                    stream_.handle(), a);
    });
  });
}

}  // namespace espalier::cuda::ESPALIER_TARGET

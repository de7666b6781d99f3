// The ops of a device: about twenty ops over row-major tensors. Each op is a struct of its inputs and results.
//
// Conventions: the widths of activations are multiples of kWidthMultiple, padded with zeros; numbers of rows are arbitrary. An index of -1
// in a gather list stands for such padding. "Compute dtype" is f32 or bf16; sums are always in f32. Equal inputs give equal bits, whatever
// ran before.
//
// Overlap: the results of an op lie apart from all other tensors that it names, except where its comment says "may lie where ...". There
// both must begin at the same address and have the same dtype and stride. A backend that can't work in place copies first. op_contracts.cpp
// checks shapes, dtypes and overlaps before an op is queued, also in release builds.
#pragma once
#include "device/attention_ops.h"
#include "espalier/base/activation.h"

namespace espalier {

struct Copy {
  Tensor to, from;  // both have the same shape and dtype
};

struct Clear {
  DevicePtr<float> data;
  int64_t size = 0;
};

// out[n, j] = table[ids[n], cols[j]] * scale[j]
struct Embed {
  Tensor out;  // f32
  StoredMatrix table;
  DevicePtr<const int32_t> ids;   // [out.rows]
  DevicePtr<const int32_t> cols;  // nullptr stands for the identity
  DevicePtr<const float> scale;   // [out.cols]
};

// out = x * scale * rstd * weight, rstd = 1 / sqrt(sum((x * scale)^2) / width + eps)
struct RmsNorm {
  Tensor x;                       // f32
  Tensor out;                     // compute dtype
  DevicePtr<float> rstd;          // [rows]; nullptr where it is not wanted
  DevicePtr<const float> weight;  // nullptr stands for ones
  int64_t width = 0;              // the width of the whole model, including closed units
  float eps = 0;
  DevicePtr<const float> scale;  // [cols], factors of x before anything else; nullptr stands for ones
};

// dx (+)= gradient through the norm + loss_scale * loss_diff; mask_dot[j] += sum_n (gradient through the norm)[n,j] * x[n,j].
// dx_compute may lie where saved (of the compute dtype) or loss_diff does.
struct RmsNormBackward {
  Tensor dout;   // f32
  Tensor saved;  // the norm's output in compute dtype or, without weight_inverse, its input x in f32
  DevicePtr<const float> rstd;
  DevicePtr<const float> weight;
  DevicePtr<const float> weight_inverse;  // 1 / weight, 0 in padding
  int64_t width = 0;
  Tensor dx;               // f32
  bool accumulate = true;  // false where dx is overwritten
  Tensor loss_diff;        // compute dtype; may be empty
  float loss_scale = 0;
  Tensor dx_compute;                     // dx * compute_scale, rounded to the compute dtype
  DevicePtr<const float> compute_scale;  // [cols]; nullptr stands for ones
  DevicePtr<float> mask_dot;             // [cols]
  DevicePtr<const float> saved_scale;    // [cols], factors of an input that is saved; nullptr stands for ones
};

// The gate's activation is SiLU, or GELU in its tanh approximation, which is gate * sigmoid(2 sqrt(2 / pi) (gate + 0.044715 gate^3)).
struct Swiglu {
  Tensor gate_up;  // [N, 2 I]: gate, then up
  Tensor out;      // [N, I] = activation(gate) * up
  Activation activation = Activation::kSilu;
  DevicePtr<const float> unit_scale;  // [I], factors of gate and up before anything else; nullptr stands for ones
};

// Computes the gradients of Swiglu. dgate_up may lie where gate_up does, and out where dout does.
struct SwigluBackward {
  Tensor gate_up, dout;
  Tensor dgate_up;
  Tensor out;                         // activation(gate) * up again, for LoRA of the down projection
  DevicePtr<float> unit_dot;          // [I], sum over n of gradient by gate * gate + gradient by up * up, or of dout * out where dot_of_out
  DevicePtr<const float> unit_scale;  // [I], factors of dgate and dup, applied after that sum; nullptr stands for ones
  Activation activation = Activation::kSilu;
  bool scales_gate_up = false;  // true where Swiglu read gate_up with a unit_scale, so that this op multiplies gate and up by it too
  bool dot_of_out = false;      // which sum unit_dot is
};

// Compares the residual streams of student and teacher, which may have different open hidden units. d = student - teacher in the student's
// open units, and 0 elsewhere. Each stream counts with its factors. weight(n) is 1, or where `relative`, 1 over the sum of the teacher's
// squares in the units that row n compares (0 where that sum is 0).
struct LayerLoss {
  Tensor student, teacher;  // f32
  // For each column of the student the teacher's column; -1 where it is closed there; nullptr: the same columns.
  DevicePtr<const int32_t> teacher_cols;
  DevicePtr<const float> student_scale;  // [cols], the student's hidden mask; 0 in closed and padding columns
  Tensor diff;                           // compute dtype: weight(n) * d
  DevicePtr<double> sum;                 // [1] sum of weight(n) * d^2
  DevicePtr<float> mask_dot;             // [cols], sum_n weight(n) * d * student
  // [cols] of either stream, factors of the stream before anything else; nullptr stands for ones.
  DevicePtr<const float> student_factor, teacher_factor;
  bool relative = false;
};

// x = cap * tanh(x / cap), in place
struct SoftCap {
  Tensor x;  // f32
  float cap = 0;
};

// Computes the losses of a chunk of tokens from its logits, and their gradient.
struct TokenLoss {
  Tensor student;                    // f32 [C, V] logits
  Tensor teacher;                    // f32; empty where there is no distillation
  DevicePtr<const int32_t> targets;  // [C] next tokens, -1 where there is none; nullptr where there is no language-model loss
  float temperature = 1;
  float kl_gradient_scale = 0, lm_gradient_scale = 0;
  Tensor dlogits;             // compute dtype; empty where no gradient is wanted
  DevicePtr<double> kl_rows;  // [C] KL(teacher || student) at the temperature
  DevicePtr<double> lm_rows;  // [C] negative log-likelihood
  DevicePtr<int32_t> best;    // [C] the column of the largest logit, the first of equal ones; nullptr where it is not wanted
  float logits_cap = 0;       // the cap of a SoftCap that made the logits; dlogits are the gradient by the values before it; 0: no cap
};

// The columns of a projection in LoRA's narrow products: an even number, so that pairs of bf16 are whole.
inline int64_t narrow_width(int64_t rank) { return (rank + 1) / 2 * 2; }

// LoRA's narrow products of up to three projections: x_i factor_i, each in narrow_width(rank) columns of out, where columns beyond rank are
// zeros. Forward it is x A^T, of one x with every A; backward dy B, each dy with its own B. Factors are f32.
struct LoraNarrow {
  Tensor out;  // compute dtype [N, count * narrow_width(rank)]
  int64_t rank = 0;
  bool transposed = false;  // true where factors are stored as [rank, in]
  int count = 0;
  std::array<ProductTerm, 3> terms;
};

// Gradients of A and B of up to three projections y = W x + lora_scale * B (A x) of one x, where x and dy hold only open columns: dA =
// lora_scale * dy_narrow^T x, dB = lora_scale * dy^T x_narrow. dA and dB have full shape; entries of closed rows and columns stay
// unchanged.
struct LoraOutput {
  Tensor dy;                      // compute dtype [N, out]
  DevicePtr<const int32_t> rows;  // the row of B for each column of dy, as in Selection
  DevicePtr<float> da;            // [rank, in_full]
  DevicePtr<float> db;            // [out_full, rank]
  int64_t out_full = 0;
};
struct LoraGradient {
  Tensor x;                       // compute dtype [N, in]
  Tensor x_narrow, dy_narrow;     // from LoraNarrow, for the same projections
  DevicePtr<const int32_t> cols;  // the column of A for each column of x
  int64_t in_full = 0;
  int64_t rank = 0;
  float lora_scale = 0;
  int count = 0;
  std::array<LoraOutput, 3> outputs;
};

// Dropout of a projection's input, as LoRA reads it: each value is either set to 0, with the given probability, or divided by 1 -
// probability. Word column % 4 of Philox for (seed, step, stream, index), with index = (first_row + row) * ((in_full + 3) / 4) + column /
// 4, decides it, where column counts in the whole matrix: the value stays where the word is at least probability * 2^32. The same op
// carries a gradient back.
struct LoraDropout {
  Tensor x;                 // f32 or compute dtype [N, in], only open columns
  Tensor out;               // f32 or compute dtype
  bool accumulate = false;  // true: adds to out
  // The column of the whole matrix for each column of x, rising, then -1 for padding; nullptr stands for the identity.
  DevicePtr<const int32_t> cols;
  int64_t in_full = 0;
  uint64_t seed = 0;
  int64_t step = 0;
  uint32_t stream = 0;
  int64_t first_row = 0;
  double probability = 0;  // at least 0 and below 1

  uint32_t threshold() const { return static_cast<uint32_t>(probability * 4294967296.0); }
  float scale() const { return static_cast<float>(1.0 / (1.0 - probability)); }
};

// out[j % fold] += column_scale[j] * the sum over n of row_scale[n] * a[n, j] * b[n, j]: the gradient of a norm's weight or of a bias.
struct ColumnDot {
  Tensor a, b;                                     // f32 or compute dtype [N, cols]; an empty b stands for ones
  DevicePtr<const float> row_scale, column_scale;  // [N], [cols]; nullptr stands for ones
  int64_t fold = 0;                                // divides cols
  DevicePtr<float> out;                            // [fold]
};

// table[ids[n], j] += scale[j] * dx[n, j]. The rows are added in the order of n.
struct EmbedGradient {
  Tensor dx, table;              // f32 [N, cols], [V, cols]
  DevicePtr<const int32_t> ids;  // [N]
  DevicePtr<const float> scale;  // [cols]; nullptr stands for ones
};

// dx += scale * diff, and dx_compute = dx * compute_scale, rounded. dx_compute may lie where diff does. The op adds the gradient of a layer
// loss where no RmsNormBackward adds it. In the forward pass it adds to the residual stream what a norm made of a block's result, or only
// rounds the stream.
struct AddLossGradient {
  Tensor dx;    // f32
  Tensor diff;  // compute dtype; may be empty
  float scale = 0;
  Tensor dx_compute;
  DevicePtr<const float> compute_scale;  // [cols]; nullptr stands for ones
};

// to[i] += from[i]. The two lie apart.
struct Add {
  DevicePtr<float> to;
  DevicePtr<const float> from;
  int64_t size = 0;
};

struct SquareSum {
  DevicePtr<const float> data;
  int64_t size = 0;
  DevicePtr<double> sum;  // [1]
};

// Changes parameters and moments in place.
struct AdamW {
  DevicePtr<float> param, m, v;
  DevicePtr<const float> gradient;
  int64_t size = 0;
  float learning_rate = 0, beta1 = 0.9f, beta2 = 0.999f, eps = 1e-8f;
  float bias_correction1 = 1, bias_correction2 = 1;  // 1 - beta^t
  float gradient_scale = 1;
  float low = 0, high = 0;  // parameters are clamped to [low, high] where low < high
};

// The table of ops, to which a macro is applied. An op that is added here has to have a check in op_contracts.cpp, a launch in every
// backend, and its memory in tests/hidden_memory/op_memory.h.
#define ESPALIER_OPS(X) \
  X(Copy)               \
  X(Clear)              \
  X(Embed)              \
  X(Product)            \
  X(RmsNorm)            \
  X(RmsNormBackward)    \
  X(AttentionOperands)  \
  X(Attention)          \
  X(PathAttention)      \
  X(AttentionBackward)  \
  X(HeadNormBackward)   \
  X(CachedAttention)    \
  X(Swiglu)             \
  X(SwigluBackward)     \
  X(LayerLoss)          \
  X(SoftCap)            \
  X(TokenLoss)          \
  X(LoraNarrow)         \
  X(LoraGradient)       \
  X(LoraDropout)        \
  X(Transpose)          \
  X(ColumnDot)          \
  X(EmbedGradient)      \
  X(AddLossGradient)    \
  X(Add)                \
  X(SquareSum)          \
  X(AdamW)

// Each throws Error(kInternal, "backend") where an op would read or write outside of its tensors.
#define ESPALIER_CHECK(Op) void check(const Op& op);
ESPALIER_OPS(ESPALIER_CHECK)
#undef ESPALIER_CHECK

}  // namespace espalier

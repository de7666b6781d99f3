// What a device has to offer: about twenty ops over row-major tensors. The algorithm (step, trainer, evaluation) is written
// once over this interface; a backend knows the ops and nothing of the method.
//
// Conventions: widths of activations are multiples of kWidthMultiple, padded with zeros; row counts are arbitrary. An index of
// -1 in a gather list stands for such padding. "Compute dtype" is f32 or bf16; accumulation is always f32. All pointers are
// device pointers: plain vectors of the host go through stage() first. Equal inputs give equal bits, whatever ran before.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "espalier/model_weights.h"

namespace espalier {

inline constexpr int64_t kWidthMultiple = 16;
inline int64_t padded_width(int64_t n) { return (n + kWidthMultiple - 1) / kWidthMultiple * kWidthMultiple; }
inline int64_t dtype_bytes(DType t) { return t == DType::kF32 ? 4 : 2; }

// A matrix in device memory, not owned. stride: elements from one row to the next.
struct Tensor {
  void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0, cols = 0, stride = 0;

  explicit operator bool() const { return data != nullptr; }
  Tensor columns(int64_t from, int64_t count) const {
    return {static_cast<char*>(data) + from * dtype_bytes(dtype), dtype, rows, count, stride};
  }
  Tensor row_range(int64_t from, int64_t count) const {
    return {static_cast<char*>(data) + from * stride * dtype_bytes(dtype), dtype, count, cols, stride};
  }
  // The same memory as a dense matrix of another shape (the buffer must be large enough).
  Tensor reshaped(int64_t r, int64_t c) const { return {data, dtype, r, c, c}; }
};

// Rows and columns of a stored matrix, as a product sees them: value(i, j) = scale * stored[row_index[i], col_index[j]]. An
// index of -1 is a row or column of zeros, and without a list so is what lies beyond the stored matrix.
struct Selection {
  WeightView stored;  // any dtype
  int64_t rows = 0, cols = 0;
  const int32_t* row_index = nullptr;  // [rows]; nullptr: identity
  const int32_t* col_index = nullptr;  // [cols]
  float scale = 1;
};

// c (+)= column_scale * the sum of the terms a b, or a b^T where the selections lie as [out, in].
struct ProductTerm {
  Tensor a;     // compute dtype [N, in]
  Selection b;  // [in, out]; [out, in] where transposed
};
struct Product {
  Tensor c;  // f32 or compute dtype [N, out]
  std::array<ProductTerm, 6> terms;
  int count = 0;
  bool transposed = false;
  bool accumulate = false;              // c is f32 then
  const float* column_scale = nullptr;  // [out]; nullptr: ones

  void add(Tensor a, const Selection& b) { terms[count++] = {a, b}; }
};

// out[n, j] = table[ids[n], cols[j]] * scale[j]
struct Embed {
  Tensor out;  // f32
  WeightView table;
  const int32_t* ids = nullptr;   // [out.rows]
  const int32_t* cols = nullptr;  // nullptr: identity
  const float* scale = nullptr;   // [out.cols]
};

// out = x * rstd * weight, rstd = 1 / sqrt(sum(x^2) / width + eps)
struct RmsNorm {
  Tensor x;                       // f32
  Tensor out;                     // compute dtype
  float* rstd = nullptr;          // [rows]
  const float* weight = nullptr;  // nullptr: ones
  int64_t width = 0;              // D of the whole model, closed units included
  float eps = 0;
};

// dx (+)= gradient through the norm + loss_scale * loss_diff; mask_dot[j] += sum_n (gradient through the norm)[n,j] * x[n,j].
// dx_compute may lie where saved (of the compute dtype) or loss_diff does.
struct RmsNormBackward {
  Tensor dout;   // f32
  Tensor saved;  // the norm's output in compute dtype; without weight_inverse its input x in f32
  const float* rstd = nullptr;
  const float* weight = nullptr;
  const float* weight_inverse = nullptr;  // 1 / weight, 0 in padding
  int64_t width = 0;
  Tensor dx;               // f32
  bool accumulate = true;  // false: dx is overwritten
  Tensor loss_diff;        // compute dtype; may be empty
  float loss_scale = 0;
  Tensor dx_compute;                     // dx * compute_scale, rounded to the compute dtype
  const float* compute_scale = nullptr;  // [cols]; nullptr: ones
  float* mask_dot = nullptr;             // [cols]
};

struct AttentionShape {
  int64_t batch = 0, tokens = 0;
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  int64_t query_width = 0, kv_width = 0;  // columns of the query, key and value parts: heads * head_dim and more, padded
  int64_t window = 0;                     // 0: full causal attention
  const int32_t* kv_of_head = nullptr;    // [heads]
  const float* rope_cos = nullptr;        // [tokens, head_dim / 2]
  const float* rope_sin = nullptr;
  const float* bias = nullptr;  // [query_width + 2 kv_width], added to qkv; nullptr: none
};

// What attention multiplies, rounded once: the products with bias, turned, queries scaled so that scores are base-2 logarithms.
struct AttentionOperands {
  AttentionShape shape;
  std::array<Product, 3> products;  // queries, keys, values, transposed; their c are not used
  Tensor space;                     // f32, as large as operands
  Tensor operands;                  // compute dtype [N, query_width + 2 kv_width]; padding columns are left alone
};

struct Attention {
  AttentionShape shape;
  Tensor operands;
  Tensor out;                           // compute dtype [N, query_width]
  float* lse = nullptr;                 // [heads, N], base 2; nullptr: not wanted
  const float* column_scale = nullptr;  // [query_width], of out, the same for all columns of a head; nullptr: ones
};

struct AttentionBackward {
  AttentionShape shape;
  Tensor operands, dout;
  const float* lse = nullptr;
  Tensor dqkv;                 // may lie where operands do; padding columns are set to 0
  double* head_dot = nullptr;  // [heads], sum_n dout[n, head] . out[n, head], from the probabilities
};

struct Swiglu {
  Tensor gate_up;  // [N, 2 I]: gate, then up
  Tensor out;      // [N, I] = silu(gate) * up
};

// dgate_up may lie where gate_up does, out where dout does.
struct SwigluBackward {
  Tensor gate_up, dout;
  Tensor dgate_up;
  Tensor out;                         // silu(gate) * up once more, for LoRA of the down projection
  float* unit_dot = nullptr;          // [I], sum_n of the gradients by gate and up times these
  const float* unit_scale = nullptr;  // [I], of dgate and dup, after that sum; nullptr: ones
};

// Student and teacher may have different open hidden units. diff = student - teacher in the student's open units, else 0.
struct LayerLoss {
  Tensor student, teacher;                // f32
  const int32_t* teacher_cols = nullptr;  // for each student column the teacher's, -1: closed there; nullptr: the same
  const float* student_scale = nullptr;   // [cols] the student's hidden mask; 0: closed or padding
  Tensor diff;                            // compute dtype
  double* sum = nullptr;                  // [1] sum of diff^2
  float* mask_dot = nullptr;              // [cols], sum_n diff * student
};

// Losses of a chunk of tokens from its logits, and their gradient.
struct TokenLoss {
  Tensor student;                    // f32 [C, V] logits
  Tensor teacher;                    // f32; empty: no distillation
  const int32_t* targets = nullptr;  // [C] next tokens, -1: none; nullptr: no language-model loss
  float temperature = 1;
  float kl_gradient_scale = 0, lm_gradient_scale = 0;
  Tensor dlogits;             // compute dtype; empty: no gradient wanted
  double* kl_rows = nullptr;  // [C] KL(teacher || student) at the temperature
  double* lm_rows = nullptr;  // [C] negative log-likelihood
};

// Columns of a projection in LoRA's narrow products: pairs of bf16 are whole.
inline int64_t narrow_width(int64_t rank) { return (rank + 1) / 2 * 2; }

// LoRA's narrow products, of up to three projections, each in narrow_width(rank) columns of out, those beyond rank zeros: x_i factor_i.
// Forward x A^T, of one x with every A; backward dy B, each dy with its own.
struct LoraNarrow {
  Tensor out;  // compute dtype [N, count * narrow_width(rank)]
  int64_t rank = 0;
  bool transposed = false;  // factors lie as [rank, in]
  int count = 0;
  std::array<ProductTerm, 3> terms;
};

// Gradients of A and B of up to three projections y = W x + lora_scale * B (A x) of one x, where x and dy hold open columns only:
// dA = lora_scale * dy_narrow^T x, dB = lora_scale * dy^T x_narrow. dA and dB have full shape; entries of closed rows and columns
// are left alone.
struct LoraOutput {
  Tensor dy;                      // compute dtype [N, out]
  const int32_t* rows = nullptr;  // row of B for each column of dy, as in Selection
  float* da = nullptr;            // [rank, in_full]
  float* db = nullptr;            // [out_full, rank]
};
struct LoraGradient {
  Tensor x;                       // compute dtype [N, in]
  Tensor x_narrow, dy_narrow;     // as LoraNarrow leaves them, for the same projections
  const int32_t* cols = nullptr;  // column of A for each column of x
  int64_t in_full = 0;
  int64_t rank = 0;
  float lora_scale = 0;
  int count = 0;
  std::array<LoraOutput, 3> outputs;
};

struct AdamW {
  float* param = nullptr;
  float* m = nullptr;
  float* v = nullptr;
  const float* gradient = nullptr;
  int64_t size = 0;
  float learning_rate = 0, beta1 = 0.9f, beta2 = 0.999f, eps = 1e-8f;
  float bias_correction1 = 1, bias_correction2 = 1;  // 1 - beta^t
  float gradient_scale = 1;
  float low = 0, high = 0;  // parameters are clamped to [low, high] when low < high
};

struct ScratchShape {
  int64_t batch = 0, tokens = 0, lora_rank = 0;
  DType dtype = DType::kBF16;  // compute dtype
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string fingerprint() const = 0;
  virtual void attach_thread() = 0;  // before ops are issued from a host thread

  // Zeroed device memory, 64-byte aligned. Pages that are never touched may cost nothing.
  virtual void* allocate(uint64_t bytes) = 0;
  virtual void release(void* memory, uint64_t bytes) = 0;
  // What the ops need besides the tensors passed in, for the widest layer of `config`.
  virtual uint64_t scratch_bytes(const ModelConfig& config, const ScratchShape& shape) const = 0;

  // Device views of host memory, valid until the host memory goes; a device with memory of its own copies.
  virtual const int32_t* stage(const std::vector<int32_t>& host) = 0;
  virtual const float* stage(const std::vector<float>& host) = 0;
  virtual void copy(Tensor to, Tensor from) = 0;
  virtual void clear(float* data, int64_t size) = 0;

  virtual void embed(const Embed& op) = 0;
  virtual void multiply(const Product& op) = 0;
  virtual void rmsnorm(const RmsNorm& op) = 0;
  virtual void rmsnorm_backward(const RmsNormBackward& op) = 0;
  virtual void attention_operands(const AttentionOperands& op) = 0;
  virtual void attention(const Attention& op) = 0;
  virtual void attention_backward(const AttentionBackward& op) = 0;
  virtual void swiglu(const Swiglu& op) = 0;
  virtual void swiglu_backward(const SwigluBackward& op) = 0;
  virtual void layer_loss(const LayerLoss& op) = 0;
  virtual void token_loss(const TokenLoss& op) = 0;
  virtual void lora_narrow(const LoraNarrow& op) = 0;
  virtual void lora_gradient(const LoraGradient& op) = 0;
  // dx += scale * diff, and dx * compute_scale (nullptr: ones) rounded to dx_compute, which may lie where diff does: the loss gradient
  // where no norm takes it along.
  virtual void add_loss_gradient(Tensor dx, Tensor diff, float scale, Tensor dx_compute, const float* compute_scale) = 0;
  virtual double square_sum(const float* data, int64_t size) = 0;
  virtual void adamw(const AdamW& op) = 0;
};

// Throws Error(kNotSupported, "backend", ...). threads 0: all cores that the process may use.
std::unique_ptr<Backend> make_backend(const std::string& name, int threads);

}  // namespace espalier

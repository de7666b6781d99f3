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

// out[i, j] = row_scale[i] * (W[rows[i], cols[j]] + lora_scale * sum_k B[rows[i], k] * A[k, cols[j]]) * col_scale[j]
struct GatherWeights {
  Tensor out;                        // compute dtype
  WeightView weight;                 // [out, in], any dtype
  const int32_t* rows = nullptr;     // [out.rows]; nullptr: identity
  const int32_t* cols = nullptr;     // [out.cols]; nullptr: identity
  const float* row_scale = nullptr;  // nullptr: ones
  const float* col_scale = nullptr;
  const float* lora_a = nullptr;     // [rank, in]; nullptr: no LoRA
  const float* lora_b = nullptr;     // [out, rank]
  int64_t rank = 0;
  float lora_scale = 0;
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
  Tensor x;    // f32
  Tensor out;  // compute dtype
  float* rstd = nullptr;          // [rows]
  const float* weight = nullptr;  // nullptr: ones
  int64_t width = 0;              // D of the whole model, closed units included
  float eps = 0;
};

// dx (+)= gradient through the norm + loss_scale * loss_diff; mask_dot[j] += sum_n (gradient through the norm)[n,j] * x[n,j]
struct RmsNormBackward {
  Tensor dout;                            // f32
  Tensor saved;                           // the norm's output in compute dtype; without weight_inverse its input x in f32
  const float* rstd = nullptr;
  const float* weight = nullptr;
  const float* weight_inverse = nullptr;  // 1 / weight, 0 in padding
  int64_t width = 0;
  Tensor dx;                      // f32
  bool accumulate = true;         // false: dx is overwritten
  Tensor loss_diff;               // compute dtype; may be empty
  float loss_scale = 0;
  Tensor dx_compute;              // dx rounded to the compute dtype
  float* mask_dot = nullptr;      // [cols]
};

struct AttentionShape {
  int64_t batch = 0, tokens = 0;
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  int64_t query_width = 0, kv_width = 0;  // columns of the query, key and value parts: heads * head_dim and more, padded
  int64_t window = 0;                     // 0: full causal attention
  const int32_t* kv_of_head = nullptr;    // [heads]
  const float* rope_cos = nullptr;        // [tokens, head_dim / 2]
  const float* rope_sin = nullptr;
  const float* bias = nullptr;            // [query_width + 2 kv_width], added to qkv; nullptr: none
};

// A product's weight [out, in] and the first of the columns that it makes.
struct ProductPart {
  Tensor weight;
  int64_t column = 0;
};

// What attention multiplies, rounded once: x W^T with bias, turned, queries scaled so that scores are base-2 logarithms.
struct AttentionOperands {
  AttentionShape shape;
  Tensor x;                           // compute dtype [N, in]
  std::span<const ProductPart> parts;  // queries, keys, values; or one part with the rows of all three
  Tensor space;                       // f32, as large as operands
  Tensor operands;                    // compute dtype [N, query_width + 2 kv_width]; padding columns are left alone
};

struct Attention {
  AttentionShape shape;
  Tensor operands;
  Tensor out;            // compute dtype [N, query_width]
  float* lse = nullptr;  // [heads, N], base 2; nullptr: not wanted
};

struct AttentionBackward {
  AttentionShape shape;
  Tensor operands, dout;
  const float* lse = nullptr;
  Tensor dqkv;                 // padding columns are set to 0
  double* head_dot = nullptr;  // [heads], sum_n dout[n, head] . out[n, head], from the probabilities
};

struct Swiglu {
  Tensor gate_up;  // [N, 2 I]: gate, then up
  Tensor out;      // [N, I] = silu(gate) * up
};

struct SwigluBackward {
  Tensor gate_up, dout;
  Tensor dgate_up;
  Tensor out;                 // silu(gate) * up once more, for LoRA of the down projection
  float* unit_dot = nullptr;  // [I], sum_n dgate * gate + dup * up
};

// Student and teacher may have different open hidden units. diff = student - teacher in the student's open units, else 0.
struct LayerLoss {
  Tensor student, teacher;                 // f32
  const int32_t* teacher_cols = nullptr;   // for each student column the teacher's, -1: closed there; nullptr: the same
  const float* student_scale = nullptr;    // [cols] the student's hidden mask; 0: closed or padding
  Tensor diff;                             // compute dtype
  double* sum = nullptr;                   // [1] sum of diff^2
  float* mask_dot = nullptr;               // [cols], sum_n diff * student
};

// Losses of a chunk of tokens from its logits, and their gradient.
struct TokenLoss {
  Tensor student;                    // f32 [C, V] logits
  Tensor teacher;                    // f32; empty: no distillation
  const int32_t* targets = nullptr;  // [C] next tokens, -1: none; nullptr: no language-model loss
  float temperature = 1;
  float kl_gradient_scale = 0, lm_gradient_scale = 0;
  Tensor dlogits;                    // compute dtype; empty: no gradient wanted
  double* kl_rows = nullptr;         // [C] KL(teacher || student) at the temperature
  double* lm_rows = nullptr;         // [C] negative log-likelihood
};

// Gradients of A and B of up to three projections y = W x + lora_scale * B (A x) of one x, where x and dy hold open columns
// only and the weights were gathered with the scales given here. dA and dB have full shape; entries of closed rows and columns
// are left alone.
struct LoraOutput {
  Tensor dy;                        // compute dtype [N, out]
  const int32_t* rows = nullptr;    // as in GatherWeights
  const float* row_scale = nullptr;
  const float* lora_a = nullptr;    // [rank, in_full]
  const float* lora_b = nullptr;    // [out_full, rank]
  float* da = nullptr;
  float* db = nullptr;
};
struct LoraGradient {
  Tensor x;                         // compute dtype [N, in]
  const int32_t* cols = nullptr;    // as in GatherWeights
  const float* col_scale = nullptr;
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
  float low = 0, high = 0;                           // parameters are clamped to [low, high] when low < high
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string fingerprint() const = 0;
  virtual void attach_thread() = 0;  // before ops are issued from a host thread

  // Zeroed device memory, 64-byte aligned. Pages that are never touched may cost nothing.
  virtual void* allocate(uint64_t bytes) = 0;
  virtual void release(void* memory, uint64_t bytes) = 0;
  // What the ops need besides the tensors passed in, for the widest layer of `config` and `tokens` tokens.
  virtual uint64_t scratch_bytes(const ModelConfig& config, int64_t tokens_per_row) const = 0;

  // Device views of host memory, valid until the host memory goes; a device with memory of its own copies.
  virtual const int32_t* stage(const std::vector<int32_t>& host) = 0;
  virtual const float* stage(const std::vector<float>& host) = 0;
  virtual void copy(Tensor to, Tensor from) = 0;
  virtual void clear(float* data, int64_t size) = 0;

  virtual void gather_weights(std::span<const GatherWeights> ops) = 0;
  virtual void embed(const Embed& op) = 0;
  // c = a b^T (b_transposed, b [n, k]) or a b (b [k, n]); accumulate adds to c, which is f32 then.
  virtual void matmul(Tensor c, Tensor a, Tensor b, bool b_transposed, bool accumulate) = 0;
  virtual void rmsnorm(const RmsNorm& op) = 0;
  virtual void rmsnorm_backward(const RmsNormBackward& op) = 0;
  virtual void attention_operands(const AttentionOperands& op) = 0;
  virtual void attention(const Attention& op) = 0;
  virtual void attention_backward(const AttentionBackward& op) = 0;
  virtual void swiglu(const Swiglu& op) = 0;
  virtual void swiglu_backward(const SwigluBackward& op) = 0;
  virtual void layer_loss(const LayerLoss& op) = 0;
  virtual void token_loss(const TokenLoss& op) = 0;
  virtual void lora_gradient(const LoraGradient& op) = 0;
  // dx += scale * diff, rounded copy to dx_compute: the loss gradient where no norm takes it along.
  virtual void add_loss_gradient(Tensor dx, Tensor diff, float scale, Tensor dx_compute) = 0;
  // to[n, cols[j]] = from[n, j] (other columns 0), and back: to[n, j] = from[n, cols[j]] (0 where cols[j] is -1).
  virtual void spread_columns(Tensor to, Tensor from, const int32_t* cols) = 0;
  virtual void select_columns(Tensor to, Tensor from, const int32_t* cols) = 0;
  virtual double square_sum(const float* data, int64_t size) = 0;
  virtual void adamw(const AdamW& op) = 0;
};

// Throws Error(kNotSupported, "backend", ...). threads 0: all cores that the process may use.
std::unique_ptr<Backend> make_backend(const std::string& name, int threads);

}  // namespace espalier

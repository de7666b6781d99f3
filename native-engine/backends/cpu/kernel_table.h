// The vectorised kernels of one instruction set. Each works on a range, so that the launcher decides how work is cut.
#pragma once
#include "backend.h"

namespace espalier::cpu {

// Open columns of a LoRA factor: value(k, j) = data[k * k_stride + index[j] * j_stride] * scale[j], 0 where index[j] is -1.
struct FactorView {
  const float* data = nullptr;
  int64_t k_stride = 0, j_stride = 0;
  const int32_t* index = nullptr;  // nullptr: identity
  const float* scale = nullptr;    // nullptr: ones
  int64_t rank = 0, first_k = 0;   // goes to the words' columns [first_k, first_k + rank)
  int64_t limit = 0;               // identity beyond this column is padding
};

// c (+)= a b, or a b^T where b is [c.cols, a.cols].
struct Product {
  Tensor c, a, b;
  bool b_transposed = false, accumulate = false;
};

struct Kernels {
  const char* name;
  void (*scale_lora_a)(const GatherWeights&, float* a, int64_t begin, int64_t end);
  void (*gather_rows)(const GatherWeights&, const float* lora_a_scaled, int64_t begin, int64_t end, float* scratch);
  void (*embed)(const Embed&, int64_t begin, int64_t end);
  void (*rmsnorm)(const RmsNorm&, int64_t begin, int64_t end);
  void (*rmsnorm_backward)(const RmsNormBackward&, int64_t begin, int64_t end, float* mask_dot_part);
  uint64_t (*attention_scratch_bytes)(int64_t tokens, int64_t head_dim);
  // Rows [begin, end) of the heads from `column` on, whose products are in `sums`.
  void (*attention_operands)(const AttentionOperands&, const Tensor& sums, int64_t column, int64_t begin, int64_t end);
  void (*attention)(const Attention&, int64_t row, int64_t kv_head, void* scratch);
  void (*attention_backward)(const AttentionBackward&, int64_t row, int64_t kv_head, void* scratch, double* head_dot);
  void (*swiglu)(const Swiglu&, int64_t begin, int64_t end);
  void (*swiglu_backward)(const SwigluBackward&, int64_t col_begin, int64_t col_end);
  void (*layer_loss)(const LayerLoss&, int64_t begin, int64_t end, double* sum, float* mask_dot_part);
  void (*token_loss)(const TokenLoss&, int64_t row);
  void (*add_loss_gradient)(Tensor dx, Tensor diff, float scale, Tensor dx_compute, int64_t begin, int64_t end);
  void (*spread_columns)(Tensor to, Tensor from, const int32_t* cols, int64_t begin, int64_t end);
  void (*select_columns)(Tensor to, Tensor from, const int32_t* cols, int64_t begin, int64_t end);
  int64_t (*pair_size)(DType);
  // LoRA's gradient in three passes: factors as words (columns [begin, end)), x or dy times a factor (tokens [begin, end),
  // transposed: [rank, tokens]), and their product with the other one (columns [begin, end)).
  void (*pack_factor)(DType, const FactorView&, int64_t begin, int64_t end, uint32_t* words, int64_t words_stride);
  void (*narrow_product)(Tensor x, const uint32_t* factor_words, int64_t rank_padded, int64_t begin, int64_t end,
                         uint32_t* out_words, int64_t out_stride);
  void (*outer_product)(Tensor x, const uint32_t* narrow_words, int64_t narrow_stride, int64_t rank, int64_t begin, int64_t end,
                        float* out, int64_t out_stride, uint32_t* scratch);
  void (*adamw)(const AdamW&, int64_t begin, int64_t end);
  double (*square_sum)(const float* data, int64_t begin, int64_t end);
  // Large products of this instruction set's own, where it has any that fits; columns [begin, end) of c.
  bool (*product_fits)(const Product&);
  uint64_t (*product_panel_bytes)(int64_t depth, DType c);
  void (*product)(const Product&, int64_t begin, int64_t end, uint32_t* panel);
};

const Kernels& kernels_portable();
const Kernels& kernels_avx2();
const Kernels& kernels_avx512();
const Kernels& kernels_avx512_bf16();
// The widest set this processor runs; ESPALIER_CPU_ISA names a narrower one ("portable", "avx2", "avx512", "avx512_bf16").
const Kernels& select_kernels();
std::vector<const Kernels*> available_kernels();  // all that this processor runs, narrowest first

}  // namespace espalier::cpu

// The vectorised kernels of one instruction set. Each works on a range, so that the launcher decides how work is cut.
#pragma once
#include <string>
#include <vector>

#include "device/ops.h"
#include "host_address.h"

namespace espalier::cpu {

// Rows that pass by a product's panels together: whole tiles of panels of every width.
inline constexpr int64_t kBlockRows = 24;

// Up to this number of rows a product is bound by the bytes of its stored matrix, so nothing is packed.
inline constexpr int64_t kFewRows = 16;

// Threads that make the same columns of a product, each for rows of its own: each packs a share of the panels, and all use them.
struct Team {
  int64_t index = 0, size = 1;
  void (*wait)(void* barrier) = nullptr;  // until all have come
  void* barrier = nullptr;
  int64_t room = 0;    // words of one group's panels
  int64_t groups = 0;  // packed so far
};

struct Kernels {
  const char* name;
  // Rows [begin, end) of a selection, begin at out's first row. scratch: one row of floats.
  void (*select_rows)(const Selection&, Tensor out, int64_t begin, int64_t end, float* scratch);
  void (*embed)(const Embed&, int64_t begin, int64_t end);
  void (*rmsnorm)(const RmsNorm&, int64_t begin, int64_t end);
  void (*rmsnorm_backward)(const RmsNormBackward&, int64_t begin, int64_t end, float* mask_dot_part);
  uint64_t (*attention_scratch_bytes)(int64_t tokens, int64_t head_dim);
  // Rows [begin, end) of the heads from `column` on, whose products are in `sums`, from its first row on. Norms change the sums.
  void (*attention_operands)(const AttentionOperands&, const Tensor& sums, int64_t column, int64_t begin, int64_t end);
  void (*attention)(const Attention&, int64_t row, int64_t kv_head, void* scratch);
  void (*path_attention)(const PathAttention&, int64_t piece, int64_t kv_head, void* scratch);
  void (*attention_backward)(const AttentionBackward&, int64_t row, int64_t kv_head, void* scratch, double* head_dot);
  void (*head_norm_backward)(const HeadNormBackward&, int64_t begin, int64_t end);
  // One new token's heads that read one key/value head. scores: room for `capacity` floats, padded.
  void (*cached_attention)(const CachedAttention&, int64_t row, int64_t kv_head, float* scores);
  void (*swiglu)(const Swiglu&, int64_t begin, int64_t end);
  void (*swiglu_backward)(const SwigluBackward&, int64_t begin, int64_t end, float* unit_dot_part);
  void (*layer_loss)(const LayerLoss&, int64_t begin, int64_t end, double* sum, float* mask_dot_part);
  void (*token_loss)(const TokenLoss&, int64_t row);
  void (*lora_dropout)(const LoraDropout&, int64_t begin, int64_t end);
  void (*transpose)(const Transpose&, int64_t begin, int64_t end);           // rows of `to`
  void (*column_dot)(const ColumnDot&, int64_t begin, int64_t end);          // places of `out`
  void (*embed_gradient)(const EmbedGradient&, int64_t begin, int64_t end);  // columns
  void (*add_loss_gradient)(const AddLossGradient&, int64_t begin, int64_t end);
  int64_t (*pair_size)(DType);
  // LoRA in four passes: a factor as words (of the summed dimension [begin, end)), x or dy times it (tokens [begin, end)); such a
  // product as words along the tokens, and its product with the other one of dy and x (columns [begin, end)).
  void (*pack_factor)(DType, const Selection&, bool transposed, int64_t rank, int64_t begin, int64_t end, uint32_t* words,
                      int64_t words_stride);
  void (*narrow_product)(Tensor x, const uint32_t* factor_words, int64_t words_stride, int64_t begin, int64_t end, Tensor out);
  void (*transpose_narrow)(Tensor narrow, uint32_t* out_words, int64_t out_stride);
  void (*outer_product)(Tensor x, const uint32_t* narrow_words, int64_t narrow_stride, int64_t rank, int64_t begin, int64_t end, float* out,
                        int64_t out_stride, uint32_t* scratch);
  void (*adamw)(const AdamW&, int64_t begin, int64_t end);
  double (*square_sum)(const float* data, int64_t begin, int64_t end);
  // c (+)= sums * column_scale, rows [begin, end).
  void (*finish_product)(Tensor c, Tensor sums, const float* column_scale, bool accumulate, int64_t begin, int64_t end);
  // Products of few rows, where the stored matrix is read once and in place: columns [begin, end).
  bool (*few_rows_fit)(const Product&);
  void (*few_rows)(const Product&, int64_t begin, int64_t end);
  // Large products of this instruction set's own, where it has any that fits: rows from first_row and columns [begin, end) into c.
  bool (*product_fits)(const Product&);
  // For panels of one group; a team of several needs twice that. whole: columns that stay together.
  uint64_t (*product_panel_bytes)(int64_t depth, DType c, int64_t whole);
  void (*product)(const Product&, Tensor c, int64_t first_row, int64_t begin, int64_t end, uint32_t* panels, Team&);
  // Columns [begin, end) of a product, whole heads from `column` of the operands on, for the rows [first, last): product and
  // attention_operands in one. block: kBlockRows rows of end - begin floats.
  void (*project_heads)(const AttentionOperands&, const Product&, int64_t begin, int64_t end, int64_t column, int64_t first, int64_t last,
                        uint32_t* panels, Team&, float* block);
};

const Kernels& kernels_portable();
const Kernels& kernels_avx2();
const Kernels& kernels_avx512();
const Kernels& kernels_avx512_bf16();
// The widest set this processor runs; ESPALIER_CPU_ISA names a narrower one ("portable", "avx2", "avx512", "avx512_bf16").
const Kernels& select_kernels();
const Kernels& kernels_named(const std::string& name);
std::vector<const Kernels*> available_kernels();  // all that this processor runs, narrowest first

}  // namespace espalier::cpu

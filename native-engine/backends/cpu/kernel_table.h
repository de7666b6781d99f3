// The vectorised kernels of one instruction set. Each works on a range, so the launcher decides how the work is divided.
#pragma once
#include <string>
#include <vector>

#include "device/ops.h"
#include "host_address.h"

namespace espalier::cpu {

// The most rows that a product multiplies by a group of panels at a time.
inline constexpr int64_t kMostBlockRows = 64;

// A product of at most this number of rows is limited by the bytes of its stored matrix, so nothing is packed.
inline constexpr int64_t kFewRows = 16;

// Threads that compute the same columns of a product, each for rows of its own. Each packs a share of the panels, and all use them.
struct Team {
  int64_t index = 0, size = 1;
  void (*wait)(void* barrier) = nullptr;  // returns when all threads of the team have called it
  void* barrier = nullptr;
  int64_t room = 0;    // the size of one group's panels in words
  int64_t groups = 0;  // the number of groups packed so far
};

struct Kernels {
  const char* name;
  // Reads rows [begin, end) of a selection; row `begin` goes to out's first row. scratch: one row of floats.
  void (*select_rows)(const Selection&, Tensor out, int64_t begin, int64_t end, float* scratch);
  void (*embed)(const Embed&, int64_t begin, int64_t end);
  void (*rmsnorm)(const RmsNorm&, int64_t begin, int64_t end);
  void (*rmsnorm_backward)(const RmsNormBackward&, int64_t begin, int64_t end, float* mask_dot_part);
  uint64_t (*attention_scratch_bytes)(int64_t tokens, int64_t head_dim);
  // Makes rows [begin, end) of the heads that begin at column `column` of the operands. Their products are in `sums`, whose first row is
  // row `begin`. Norms change the sums.
  void (*attention_operands)(const AttentionOperands&, const Tensor& sums, int64_t column, int64_t begin, int64_t end);
  void (*attention)(const Attention&, int64_t row, int64_t kv_head, void* scratch);
  void (*path_attention)(const PathAttention&, int64_t piece, int64_t kv_head, void* scratch);
  void (*attention_backward)(const AttentionBackward&, int64_t row, int64_t kv_head, void* scratch, double* head_dot);
  void (*head_norm_backward)(const HeadNormBackward&, int64_t begin, int64_t end);
  // Computes the heads of one new token that read one key/value head. scores: memory for `capacity` floats, padded.
  void (*cached_attention)(const CachedAttention&, int64_t row, int64_t kv_head, float* scores);
  void (*swiglu)(const Swiglu&, int64_t begin, int64_t end);
  void (*swiglu_backward)(const SwigluBackward&, int64_t begin, int64_t end, float* unit_dot_part);
  void (*layer_loss)(const LayerLoss&, int64_t begin, int64_t end, double* sum, float* mask_dot_part);
  void (*token_loss)(const TokenLoss&, int64_t row);
  void (*lora_dropout)(const LoraDropout&, int64_t begin, int64_t end);
  void (*transpose)(const Transpose&, int64_t begin, int64_t end);           // [begin, end): rows of `to`
  void (*column_dot)(const ColumnDot&, int64_t begin, int64_t end);          // [begin, end): places of `out`
  void (*embed_gradient)(const EmbedGradient&, int64_t begin, int64_t end);  // [begin, end): columns
  void (*add_loss_gradient)(const AddLossGradient&, int64_t begin, int64_t end);
  int64_t (*pair_size)(DType);
  // LoRA's gradient takes four passes. pack_factor packs a factor as words, for [begin, end) of the summed dimension. narrow_product
  // multiplies x or dy by it, for the tokens [begin, end). transpose_narrow packs such a product as words along the tokens. outer_product
  // multiplies these words by dy or x, whichever the narrow product was not made from, for the columns [begin, end).
  void (*pack_factor)(DType, const Selection&, bool transposed, int64_t rank, int64_t begin, int64_t end, uint32_t* words,
                      int64_t words_stride);
  void (*narrow_product)(Tensor x, const uint32_t* factor_words, int64_t words_stride, int64_t begin, int64_t end, Tensor out);
  void (*transpose_narrow)(Tensor narrow, uint32_t* out_words, int64_t out_stride);
  void (*outer_product)(Tensor x, const uint32_t* narrow_words, int64_t narrow_stride, int64_t rank, int64_t begin, int64_t end, float* out,
                        int64_t out_stride, uint32_t* scratch);
  void (*adamw)(const AdamW&, int64_t begin, int64_t end);
  double (*square_sum)(const float* data, int64_t begin, int64_t end);
  // c (+)= sums * column_scale, for the rows [begin, end).
  void (*finish_product)(Tensor c, Tensor sums, const float* column_scale, bool accumulate, int64_t begin, int64_t end);
  // Products of few rows, which read the stored matrix once and in place, for the columns [begin, end).
  bool (*few_rows_fit)(const Product&);
  void (*few_rows)(const Product&, int64_t begin, int64_t end);
  // Large products by a kernel of this instruction set, where product_fits. Computes columns [begin, end) of the rows from first_row on
  // into c.
  bool (*product_fits)(const Product&);
  // Returns the bytes for the panels of one group; a team of several threads needs twice as many. whole: the number of columns that must
  // stay together.
  uint64_t (*product_panel_bytes)(int64_t depth, DType c, int64_t whole);
  void (*product)(const Product&, Tensor c, int64_t first_row, int64_t begin, int64_t end, uint32_t* panels, Team&);
  // Computes columns [begin, end) of a product for the rows [first, last) and turns them into operands, as product and attention_operands
  // together do. The columns are whole heads, and go to the operands from column `column` on. block: memory for kMostBlockRows rows of end
  // - begin floats.
  void (*project_heads)(const AttentionOperands&, const Product&, int64_t begin, int64_t end, int64_t column, int64_t first, int64_t last,
                        uint32_t* panels, Team&, float* block);
};

const Kernels& kernels_portable();
const Kernels& kernels_avx2();
const Kernels& kernels_avx512();
const Kernels& kernels_avx512_bf16();
const Kernels& kernels_avx512_amx();  // the kernels of avx512_bf16, with products by matrix tiles
// Returns the widest set that this processor can run. ESPALIER_CPU_ISA chooses a narrower one ("portable", "avx2", "avx512",
// "avx512_bf16", "avx512_amx").
const Kernels& select_kernels();
const Kernels& kernels_named(const std::string& name);
std::vector<const Kernels*> available_kernels();  // all sets that this processor can run, the narrowest first

}  // namespace espalier::cpu

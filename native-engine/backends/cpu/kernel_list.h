// The vectorised kernels of an instruction set. Each works on a range, so the launcher decides how the work is divided. No other list names
// them all: kernel_table.h makes each line a member of its table, and kernels/instantiate.cpp points this member to the function of the
// same name. Each of these two files defines the three words before it includes the list:
//   KERNEL          a function: its result, its name and its parameters
//   WORDS_KERNEL    a template, whose argument multiplies the words of attention: in vectors or in matrix tiles
//   PRODUCT_KERNEL  a template, whose argument multiplies the panels of a large product: in vectors or in matrix tiles

KERNEL(void, embed, (const Embed&, int64_t begin, int64_t end));
KERNEL(void, rmsnorm, (const RmsNorm&, int64_t begin, int64_t end));
KERNEL(void, rmsnorm_backward, (const RmsNormBackward&, int64_t begin, int64_t end, float* mask_dot_part));
KERNEL(uint64_t, attention_scratch_bytes, (int64_t tokens, int64_t head_dim));
// Makes rows [begin, end) of the heads that begin at column `column` of the operands. Their products are in `sums`, whose first row is
// row `begin`. Norms change the sums.
KERNEL(void, attention_operands, (const AttentionOperands&, const Tensor& sums, int64_t column, int64_t begin, int64_t end));
WORDS_KERNEL(void, attention, (const Attention&, int64_t row, int64_t kv_head, void* scratch));
WORDS_KERNEL(void, path_attention, (const PathAttention&, int64_t piece, int64_t kv_head, void* scratch));
WORDS_KERNEL(void, attention_backward, (const AttentionBackward&, int64_t row, int64_t kv_head, void* scratch, double* head_dot));
KERNEL(void, head_norm_backward, (const HeadNormBackward&, int64_t begin, int64_t end));
// Computes the heads of one new token that read one key/value head. scores: memory for `capacity` floats, padded.
KERNEL(void, cached_attention, (const CachedAttention&, int64_t row, int64_t kv_head, float* scores));
KERNEL(void, swiglu, (const Swiglu&, int64_t begin, int64_t end));
KERNEL(void, swiglu_backward, (const SwigluBackward&, int64_t begin, int64_t end, float* unit_dot_part));
KERNEL(void, layer_loss, (const LayerLoss&, int64_t begin, int64_t end, double* sum, float* mask_dot_part));
KERNEL(void, soft_cap, (const SoftCap&, int64_t begin, int64_t end));
KERNEL(void, token_loss, (const TokenLoss&, int64_t row));
KERNEL(void, lora_dropout, (const LoraDropout&, int64_t begin, int64_t end));
KERNEL(void, transpose, (const Transpose&, int64_t begin, int64_t end));           // [begin, end): rows of `to`
KERNEL(void, column_dot, (const ColumnDot&, int64_t begin, int64_t end));          // [begin, end): places of `out`
KERNEL(void, embed_gradient, (const EmbedGradient&, int64_t begin, int64_t end));  // [begin, end): columns
KERNEL(void, add_loss_gradient, (const AddLossGradient&, int64_t begin, int64_t end));
KERNEL(int64_t, pair_size, (DType));
// LoRA's gradient takes four passes. pack_factor packs a factor as words, for [begin, end) of the summed dimension. narrow_product
// multiplies x or dy by it, for the tokens [begin, end). transpose_narrow packs such a product as words along the tokens. outer_product
// multiplies these words by dy or x, whichever the narrow product was not made from, for the columns [begin, end).
KERNEL(void, pack_factor,
       (DType, const Selection&, bool transposed, int64_t rank, int64_t begin, int64_t end, uint32_t* words, int64_t words_stride));
KERNEL(void, narrow_product, (Tensor x, const uint32_t* factor_words, int64_t words_stride, int64_t begin, int64_t end, Tensor out));
KERNEL(void, transpose_narrow, (Tensor narrow, uint32_t* out_words, int64_t out_stride));
KERNEL(void, outer_product,
       (Tensor x, const uint32_t* narrow_words, int64_t narrow_stride, int64_t rank, int64_t begin, int64_t end, float* out,
        int64_t out_stride, uint32_t* scratch));
KERNEL(void, adamw, (const AdamW&, int64_t begin, int64_t end));
KERNEL(double, square_sum, (const float* data, int64_t begin, int64_t end));
// Copies rows [begin, end) in bf16 as f32.
KERNEL(void, widen, (Tensor from, Tensor to, int64_t begin, int64_t end));
// Products of few rows, which read the stored matrix once and in place, for the columns [begin, end).
KERNEL(bool, few_rows_fit, (const Product&));
KERNEL(void, few_rows, (const Product&, int64_t begin, int64_t end));
// Large products whose operands in bf16 are pairs that this instruction set multiplies: product_fits. Other operands are f32. Computes
// columns [begin, end) of the rows from first_row on into c.
KERNEL(bool, product_fits, (const Product&));
// Returns the bytes for the panels of one group. A team of several threads needs panels for two groups. whole: the number of columns that
// must stay together.
PRODUCT_KERNEL(uint64_t, product_panel_bytes, (DType a, int64_t depth, DType c, int64_t whole));
PRODUCT_KERNEL(void, product, (const Product&, Tensor c, int64_t first_row, int64_t begin, int64_t end, uint32_t* panels, Team&));
// Computes columns [begin, end) of a product for the rows [first, last) and turns them into operands, as product and attention_operands
// together do. The columns are whole heads, and go to the operands from column `column` on. block: memory for kMostBlockRows rows of end
// - begin floats.
PRODUCT_KERNEL(void, project_heads,
               (const AttentionOperands&, const Product&, int64_t begin, int64_t end, int64_t column, int64_t first, int64_t last,
                uint32_t* panels, Team&, float* block));

#undef KERNEL
#undef WORDS_KERNEL
#undef PRODUCT_KERNEL

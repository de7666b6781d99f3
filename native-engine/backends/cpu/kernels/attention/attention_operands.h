// Makes the operands of attention from the products of queries, keys and values.
#pragma once
#include "attention/attention.h"
#include "attention/head_norm.h"
#include "espalier/base/dtypes.h"
#include "products/product.h"

namespace espalier::cpu::ESPALIER_ISA {

// Makes rows [begin, end) of the heads that begin at column `column` of the operands. Their products are in `sums`, whose first row is row
// `begin`.
static void attention_operands(const AttentionOperands& op, const Tensor& sums, int64_t column, int64_t begin, int64_t end) {
  with_compute_type(op.operands.dtype, [&](auto type) {
    using T = decltype(type);
    const AttentionShape& s = op.shape;
    const bool key_or_query = column < s.query_width + s.kv_width, turned = key_or_query && s.rope_cos;
    const float scale = column < s.query_width ? score_scale(s) : 1.0f;
    if (op.norms && key_or_query) norm_heads<T>(op, sums, column, begin, end);
    for (int64_t n = begin; n < end; n++) {
      const float* from = row_ptr<float>(sums, n - begin);
      T* to = row_ptr<T>(op.operands, n) + column;
      const int64_t angles = n % s.tokens * (s.head_dim / 2);
      const float *cos = turned ? host(s.rope_cos) + angles : nullptr, *sin = turned ? host(s.rope_sin) + angles : nullptr;
      for (int64_t j = 0; j < sums.cols; j += s.head_dim)
        head_operand(from + j, HeadColumns{s}.bias(column + j), cos, sin, s.head_dim, scale, to + j);
    }
  });
}

// Computes the columns [begin, end) of a product, which are whole heads, for the rows [first, last), and turns them into operands a block
// of rows at a time, so that the sums never leave the innermost caches. column: the column of `begin` among the operands. block: memory for
// kMostBlockRows rows of sums.
template <class Pairs>
static void project_heads(const AttentionOperands& op, const Product& product, int64_t begin, int64_t end, int64_t column, int64_t first,
                          int64_t last, uint32_t* panels, Team& team, float* block) {
  with_multiplier<Pairs>(product, [&](auto& multiplier) {
    using Multiplier = std::remove_reference_t<decltype(multiplier)>;
    const int64_t words = product_words<Multiplier>(product);
    for_groups(begin, end, words, op.shape.head_dim, [&](int64_t from, int64_t to) {
      const PanelGroup g = pack_group<Multiplier>(product, first, from, to, 0, words, panels, team);
      const int64_t stride = g.vectors * 16;
      for (int64_t row = first; row < last; row += Multiplier::kBlockRows) {
        const int64_t rows = last - row < Multiplier::kBlockRows ? last - row : Multiplier::kBlockRows;
        multiplier.block(g, row - first, rows, block, stride, nullptr, false);
        attention_operands(op, {device(block).as<std::byte>(), DType::kF32, rows, to - from, stride}, column + from - begin, row,
                           row + rows);
      }
    });
  });
}

}  // namespace espalier::cpu::ESPALIER_ISA

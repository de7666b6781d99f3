// LoRA gradients: narrow products over tokens, wide ones over columns, then the scatter to the full factors.
#include <cstring>

#include "cpu_backend.h"
#include "parallel.h"

namespace espalier::cpu {

namespace {

// Where the pieces of one LoRA gradient lie. Factors and narrow products of all outputs stand side by side.
struct LoraLayout {
  int64_t rank, rank_padded, total, total_padded, in, stride;
  std::array<int64_t, 4> factor_at{}, column_at{};  // of dy i: its factor's words; its columns after those of x
  int64_t word_count = 0;

  LoraLayout(const LoraGradient& op, int64_t pair) {
    // Half a vector will do for eight columns, where words are pairs.
    const auto narrow_width = [&](int64_t k) { return pair == 2 && k % 16 != 0 && k % 16 <= 8 ? k / 16 * 16 + 8 : padded_width(k); };
    rank = op.rank;
    rank_padded = narrow_width(rank);
    total = rank * op.count;
    total_padded = narrow_width(total);
    in = op.x.cols;
    stride = padded_width((op.x.rows + pair - 1) / pair);
    int64_t words = in / pair * total_padded, columns = in;
    for (int i = 0; i < op.count; i++) {
      factor_at[i] = words;
      column_at[i] = columns;
      words += op.outputs[i].dy.cols / pair * rank_padded;
      columns += op.outputs[i].dy.cols;
    }
    column_at[op.count] = columns;
    word_count = words;
  }
};

}  // namespace

// dA = narrow(dy B)^T x, dB = (narrow(x A^T)^T dy)^T, both for open columns, then scattered with their scales.
void CpuBackend::lora_gradient(const LoraGradient& op) {
  const LoraLayout at(op, k_.pair_size(op.x.dtype));
  const DType t = op.x.dtype;
  uint32_t* factors = scratch<uint32_t>(kFactor, at.word_count + kLine);
  uint32_t* x_narrow = scratch<uint32_t>(kLoraWords, (at.total_padded + op.count * at.rank_padded) * at.stride);
  uint32_t* dy_narrow = x_narrow + at.total_padded * at.stride;
  if (at.rank_padded != at.rank || at.total_padded != at.total) std::memset(factors, 0, at.word_count * 4);
  parallel_all(threads_, [&](int part) {
    for (int i = 0; i < op.count; i++) {
      const LoraOutput& o = op.outputs[i];
      const Range a = part_of(at.in, threads_, part, kLine), b = part_of(o.dy.cols, threads_, part, kLine);
      k_.pack_factor(t, {o.lora_a, op.in_full, 1, op.cols, op.col_scale, at.rank, i * at.rank, op.in_full}, a.begin, a.end, factors,
                     at.total_padded);
      k_.pack_factor(t, {o.lora_b, 1, at.rank, o.rows, o.row_scale, at.rank, 0, o.dy.cols}, b.begin, b.end, factors + at.factor_at[i],
                     at.rank_padded);
    }
  });
  parallel_parts(threads_, op.x.rows, 64, [&](int, Range r) {
    k_.narrow_product(op.x, factors, at.total_padded, r.begin, r.end, x_narrow, at.stride);
    for (int i = 0; i < op.count; i++)
      k_.narrow_product(op.outputs[i].dy, factors + at.factor_at[i], at.rank_padded, r.begin, r.end,
                        dy_narrow + i * at.rank_padded * at.stride, at.stride);
  });
  lora_outer_products(op, x_narrow, dy_narrow, at.stride, at.rank_padded, at.column_at);
}

void CpuBackend::lora_outer_products(const LoraGradient& op, const uint32_t* x_narrow, const uint32_t* dy_narrow, int64_t stride,
                                     int64_t rank_padded, const std::array<int64_t, 4>& column_at) {
  const int64_t rank = op.rank, in = op.x.cols, all = column_at[op.count], dy_rank = (op.count - 1) * rank_padded + rank;
  float* da = scratch<float>(kLoraProduct, dy_rank * in + rank * (all - in));
  uint32_t* packs = scratch<uint32_t>(kLoraPack, threads_ * 64 * 64);
  parallel_parts(threads_, all, 16, [&](int part, Range r) {
    uint32_t* pack = packs + part * 64 * 64;
    if (r.begin < in) {
      const int64_t end = std::min(r.end, in);
      k_.outer_product(op.x, dy_narrow, stride, dy_rank, r.begin, end, da, in, pack);
      for (int i = 0; i < op.count; i++)
        for (int64_t k = 0; k < rank; k++)
          for (int64_t j = r.begin; j < end; j++)
            if (const int64_t c = op.cols ? op.cols[j] : j < op.in_full ? j : -1; c >= 0)
              op.outputs[i].da[k * op.in_full + c] = da[(i * rank_padded + k) * in + j] * op.lora_scale * (op.col_scale ? op.col_scale[j] : 1.0f);
    }
    for (int i = 0; i < op.count; i++) {
      const LoraOutput& o = op.outputs[i];
      const int64_t begin = std::max(r.begin, column_at[i]) - column_at[i], end = std::min(r.end, column_at[i + 1]) - column_at[i];
      if (begin >= end) continue;
      float* db = da + dy_rank * in + rank * (column_at[i] - in);
      k_.outer_product(o.dy, x_narrow + i * rank * stride, stride, rank, begin, end, db, o.dy.cols, pack);
      for (int64_t j = begin; j < end; j++)
        if (const int64_t row = o.rows ? o.rows[j] : j; row >= 0)
          for (int64_t k = 0; k < rank; k++)
            o.db[row * rank + k] = db[k * o.dy.cols + j] * op.lora_scale * (o.row_scale ? o.row_scale[j] : 1.0f);
    }
  });
}

}  // namespace espalier::cpu

// LoRA beside its projections: the narrow products of both passes, and the gradients of its factors.
#include <cstring>

#include "cpu_backend.h"
#include "parallel.h"

namespace espalier::cpu {

namespace {

// da: [projections * narrow_width(rank), in] for the open columns [begin, end).
void scatter_a(const LoraGradient& op, const float* da, int64_t begin, int64_t end) {
  for (int i = 0; i < op.count; i++)
    for (int64_t k = 0; k < op.rank; k++)
      for (int64_t j = begin; j < end; j++)
        if (const int64_t c = op.cols ? op.cols[j] : j < op.in_full ? j : -1; c >= 0)
          op.outputs[i].da[k * op.in_full + c] = da[(i * narrow_width(op.rank) + k) * op.x.cols + j] * op.lora_scale;
}

// db: [rank, out], transposed, for the open rows [begin, end).
void scatter_b(const LoraGradient& op, const LoraOutput& o, const float* db, int64_t begin, int64_t end) {
  for (int64_t j = begin; j < end; j++)
    if (const int64_t row = o.rows ? o.rows[j] : j; row >= 0)
      for (int64_t k = 0; k < op.rank; k++) o.db[row * op.rank + k] = db[k * o.dy.cols + j] * op.lora_scale;
}

}  // namespace

void CpuBackend::lora_narrow(const LoraNarrow& op) {
  // One x with several factors is read once: the factors' words stand side by side.
  bool shared = true;
  for (int i = 1; i < op.count; i++) shared = shared && op.terms[i].a.data == op.terms[0].a.data && op.terms[i].a.cols == op.terms[0].a.cols;
  const int groups = shared ? 1 : op.count, each = shared ? op.count : 1;
  const int64_t pair = k_.pair_size(op.out.dtype), part_width = narrow_width(op.rank), columns = each * part_width;
  // Half a vector will do for eight columns, where words are pairs.
  const int64_t width = pair == 2 && columns % 16 != 0 && columns % 16 <= 8 ? columns / 16 * 16 + 8 : padded_width(columns);
  std::array<uint32_t*, 3> words{};
  int64_t count = 0;
  for (int g = 0; g < groups; g++) count += op.terms[g].a.cols / pair * width;
  words[0] = scratch<uint32_t>(kFactor, count + kLine);
  for (int g = 1; g < groups; g++) words[g] = words[g - 1] + op.terms[g - 1].a.cols / pair * width;
  if (width != each * op.rank) std::memset(words[0], 0, count * 4);
  parallel_all(threads_, [&](int part) {
    for (int i = 0; i < op.count; i++) {
      const Range r = part_of(op.terms[i].a.cols, threads_, part, kLine);
      k_.pack_factor(op.out.dtype, op.terms[i].b, op.transposed, op.rank, r.begin, r.end, shared ? words[0] + i * part_width : words[i], width);
    }
  });
  parallel_parts(threads_, op.out.rows, 64, [&](int, Range r) {
    for (int g = 0; g < groups; g++)
      k_.narrow_product(op.terms[g].a, words[g], width, r.begin, r.end, op.out.columns(g * part_width, columns));
  });
}

void CpuBackend::lora_gradient(const LoraGradient& op) {
  const int64_t pair = k_.pair_size(op.x.dtype), stride = padded_width((op.x.rows + pair - 1) / pair), part_width = narrow_width(op.rank), narrow = op.count * part_width;
  uint32_t* x_words = scratch<uint32_t>(kLoraWords, 2 * narrow * stride);
  uint32_t* dy_words = x_words + narrow * stride;
  parallel_parts(threads_, op.x.rows, 64, [&](int, Range r) {
    k_.transpose_narrow(op.x_narrow, r.begin, r.end, x_words, stride);
    k_.transpose_narrow(op.dy_narrow, r.begin, r.end, dy_words, stride);
  });
  const int64_t in = op.x.cols, dy_rank = (op.count - 1) * part_width + op.rank;
  std::array<int64_t, 4> column_at{in};  // of each dy, after the columns of x
  for (int i = 0; i < op.count; i++) column_at[i + 1] = column_at[i] + op.outputs[i].dy.cols;
  const int64_t all = column_at[op.count];
  float* da = scratch<float>(kLoraProduct, dy_rank * in + op.rank * (all - in));
  uint32_t* packs = scratch<uint32_t>(kLoraPack, threads_ * 64 * 64);
  parallel_parts(threads_, all, 16, [&](int part, Range r) {
    uint32_t* pack = packs + part * 64 * 64;
    if (r.begin < in) {
      const int64_t end = std::min(r.end, in);
      k_.outer_product(op.x, dy_words, stride, dy_rank, r.begin, end, da, in, pack);
      scatter_a(op, da, r.begin, end);
    }
    for (int i = 0; i < op.count; i++) {
      const int64_t begin = std::max(r.begin, column_at[i]) - column_at[i], end = std::min(r.end, column_at[i + 1]) - column_at[i];
      if (begin >= end) continue;
      float* db = da + dy_rank * in + op.rank * (column_at[i] - in);
      k_.outer_product(op.outputs[i].dy, x_words + i * part_width * stride, stride, op.rank, begin, end, db, op.outputs[i].dy.cols, pack);
      scatter_b(op, op.outputs[i], db, begin, end);
    }
  });
}

}  // namespace espalier::cpu

// LoRA beside its projections: the narrow products of both passes, and the gradients of its factors.
#include <algorithm>
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
  for (int i = 1; i < op.count; i++)
    shared = shared && op.terms[i].a.data == op.terms[0].a.data && op.terms[i].a.cols == op.terms[0].a.cols;
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
      k_.pack_factor(op.out.dtype, op.terms[i].b, op.transposed, op.rank, r.begin, r.end, shared ? words[0] + i * part_width : words[i],
                     width);
    }
  });
  parallel_parts(threads_, op.out.rows, 64, [&](int, Range r) {
    for (int g = 0; g < groups; g++)
      k_.narrow_product(op.terms[g].a, words[g], width, r.begin, r.end, op.out.columns(g * part_width, columns));
  });
}

// Tokens first, as the passes around it, then columns: each part over tokens has sums of its own, of which few should be.
void CpuBackend::lora_gradient(const LoraGradient& op) {
  const int64_t pair = k_.pair_size(op.x.dtype), part_width = narrow_width(op.rank), narrow = op.count * part_width, rows = op.x.rows;
  const int64_t stride = padded_width((rows + pair - 1) / pair), in = op.x.cols, dy_rank = (op.count - 1) * part_width + op.rank;
  std::array<int64_t, 4> begin_of{dy_rank * in};  // of each dB^T, after dA
  for (int i = 0; i < op.count; i++) begin_of[i + 1] = begin_of[i] + op.rank * op.outputs[i].dy.cols;
  const int64_t size = (begin_of[op.count] + kLine - 1) / kLine * kLine;
  const int64_t token_parts = std::clamp<int64_t>(rows / kLeastTokens, 1, std::min<int64_t>(threads_, kMostTokenParts)),
                column_parts = threads_ / token_parts;
  uint32_t* words = scratch<uint32_t>(kLoraWords, threads_ * 2 * narrow * stride);
  uint32_t* packs = scratch<uint32_t>(kLoraPack, threads_ * 64 * 64);
  float* sums = scratch<float>(kLoraProduct, token_parts * size);
  parallel_all(threads_, [&](int part) {
    if (part >= token_parts * column_parts) return;
    const Range tokens = part_of(rows, token_parts, part / column_parts, kLine);
    const auto own = [&](const Tensor& t) { return t.row_range(tokens.begin, tokens.end - tokens.begin); };
    uint32_t *x_words = words + part * 2 * narrow * stride, *dy_words = x_words + narrow * stride, *pack = packs + part * 64 * 64;
    k_.transpose_narrow(own(op.x_narrow), x_words, stride);
    k_.transpose_narrow(own(op.dy_narrow), dy_words, stride);
    float* da = sums + part / column_parts * size;
    const auto columns = [&](int64_t cols) { return part_of(cols, column_parts, part % column_parts, kLine); };
    if (const Range r = columns(in); r.begin < r.end) k_.outer_product(own(op.x), dy_words, stride, dy_rank, r.begin, r.end, da, in, pack);
    for (int i = 0; i < op.count; i++) {
      const Tensor& dy = op.outputs[i].dy;
      if (const Range r = columns(dy.cols); r.begin < r.end)
        k_.outer_product(own(dy), x_words + i * part_width * stride, stride, op.rank, r.begin, r.end, da + begin_of[i], dy.cols, pack);
    }
  });
  parallel_all(threads_, [&](int part) {
    const Range all = part_of(size, threads_, part, kLine);
    for (int64_t p = 1; p < token_parts; p++)
      for (int64_t j = all.begin; j < all.end; j++) sums[j] += sums[p * size + j];
  });
  parallel_all(threads_, [&](int part) {
    const Range r = part_of(in, threads_, part, kLine);
    scatter_a(op, sums, r.begin, r.end);
    for (int i = 0; i < op.count; i++) {
      const Range c = part_of(op.outputs[i].dy.cols, threads_, part, kLine);
      scatter_b(op, op.outputs[i], sums + begin_of[i], c.begin, c.end);
    }
  });
}

}  // namespace espalier::cpu

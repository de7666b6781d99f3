// LoRA's work beside the products of the projections: the narrow products of both passes, and the gradients of the factors.
#include <algorithm>
#include <cstring>

#include "cpu_backend.h"
#include "parallel.h"

namespace espalier::cpu {

namespace {

// For results of at least this number of rows it pays to pack the other operand for the kernel of large products.
constexpr int64_t kWideRows = 32;

// Adds row[j] of all parts to the first part, for j in [begin, end).
void add_parts(float* row, int64_t parts, int64_t size, int64_t begin, int64_t end) {
  for (int64_t p = 1; p < parts; p++)
    for (int64_t j = begin; j < end; j++) row[j] += row[p * size + j];
}

// Adds the parts of da and scatters the sums to the factors' gradients, for the columns [begin, end). da: [projections *
// narrow_width(rank), in] for each part of the tokens; the parts lie `size` apart.
void scatter_a(const LoraGradient& op, float* da, int64_t parts, int64_t size, int64_t begin, int64_t end) {
  const int32_t* cols = host(op.cols);
  for (int i = 0; i < op.count; i++)
    for (int64_t k = 0; k < op.rank; k++) {
      float* row = da + (i * narrow_width(op.rank) + k) * op.x.cols;
      add_parts(row, parts, size, begin, end);
      float* to = host(op.outputs[i].da) + k * op.in_full;
      for (int64_t j = begin; j < end; j++)
        if (const int64_t c = cols ? cols[j] : j < op.in_full ? j : -1; c >= 0) to[c] = row[j] * op.lora_scale;
    }
}

// Does the same for db: [rank, out], transposed. It works in blocks, since the values of a column lie a power of two apart and would push
// each other out of the cache.
void scatter_b(const LoraGradient& op, const LoraOutput& o, float* db, int64_t parts, int64_t size, int64_t begin, int64_t end) {
  const int32_t* rows = host(o.rows);
  float* out = host(o.db);
  float block[kLine][kLine];
  for (int64_t first = begin; first < end; first += kLine)
    for (int64_t k = 0; k < op.rank; k += kLine) {
      const int64_t columns = std::min(kLine, end - first), ranks = std::min(kLine, op.rank - k);
      for (int64_t r = 0; r < ranks; r++) {
        float* row = db + (k + r) * o.dy.cols;
        add_parts(row, parts, size, first, first + columns);
        for (int64_t j = 0; j < columns; j++) block[r][j] = row[first + j] * op.lora_scale;
      }
      for (int64_t j = 0; j < columns; j++)
        if (const int64_t to = rows ? rows[first + j] : first + j; to >= 0)
          for (int64_t r = 0; r < ranks; r++) out[to * op.rank + k + r] = block[r][j];
    }
}

// Returns narrow^T x as a large product, whose rows are narrow's words along the tokens.
Product wide_outer_product(const Tensor& x, uint32_t* narrow_words, int64_t narrow_stride, int64_t rank, float* out, int64_t out_stride) {
  Product op;
  op.c = {device(out).as<std::byte>(), DType::kF32, rank, x.cols, out_stride};
  op.add({device(narrow_words).as<std::byte>(), x.dtype, rank, (x.rows + 1) / 2 * 2, 2 * narrow_stride},
         {{x.data, x.dtype, x.rows, x.stride}, x.rows, x.cols, nullptr, nullptr});
  return op;
}

}  // namespace

// Returns true where the kernel of large products is the best one for results of this number of rows or columns.
bool CpuBackend::is_wide(int64_t rows, DType t) const { return rows >= kWideRows && k_.pair_size(t) == 2; }

void CpuBackend::launch(const LoraNarrow& op) {
  if (is_wide(op.rank, op.out.dtype)) {
    const int64_t width = narrow_width(op.rank);
    for (int i = 0; i < op.count; i++) {
      Product product;
      product.c = op.out.columns(i * width, width);
      product.transposed = op.transposed;
      product.add(op.terms[i].a, op.terms[i].b);
      launch(product);
    }
    return;
  }
  // An x that has several factors is read once: the words of the factors lie side by side.
  bool shared = true;
  for (int i = 1; i < op.count; i++)
    shared = shared && op.terms[i].a.data == op.terms[0].a.data && op.terms[i].a.cols == op.terms[0].a.cols;
  const int groups = shared ? 1 : op.count, each = shared ? op.count : 1;
  const int64_t pair = k_.pair_size(op.out.dtype), part_width = narrow_width(op.rank), columns = each * part_width;
  // Where words are pairs, eight columns need only half a vector.
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

// Divides the work by tokens first, as the ops before and after it do, then by columns. Each part of the tokens has its own sums, so there
// should be few parts.
void CpuBackend::launch(const LoraGradient& op) {
  const int64_t pair = k_.pair_size(op.x.dtype), part_width = narrow_width(op.rank), narrow = op.count * part_width, rows = op.x.rows;
  const int64_t stride = padded_width((rows + pair - 1) / pair), in = op.x.cols, dy_rank = (op.count - 1) * part_width + op.rank;
  std::array<int64_t, 4> begin_of{dy_rank * in};  // where each dB^T begins, behind dA
  for (int i = 0; i < op.count; i++) begin_of[i + 1] = begin_of[i] + op.rank * op.outputs[i].dy.cols;
  const int64_t size = (begin_of[op.count] + kLine - 1) / kLine * kLine;
  const int64_t token_parts = std::clamp<int64_t>(rows / kLeastTokens, 1, std::min<int64_t>(threads_, kMostTokenParts)),
                column_parts = threads_ / token_parts;
  uint32_t* words = scratch<uint32_t>(kLoraWords, threads_ * 2 * narrow * stride);
  uint32_t* packs = scratch<uint32_t>(kLoraPack, threads_ * 64 * 64);
  float* sums = scratch<float>(kLoraProduct, token_parts * size);
  const int64_t panel_words =
      static_cast<int64_t>(k_.product_panel_bytes(op.x.dtype, (rows + 1) / 2 * 2, DType::kF32, 0) / sizeof(uint32_t));
  uint32_t* panels = is_wide(dy_rank, op.x.dtype) ? scratch<uint32_t>(kPanel, threads_ * panel_words) : nullptr;
  parallel_all(threads_, [&](int part) {
    if (part >= token_parts * column_parts) return;
    const Range tokens = part_of(rows, token_parts, part / column_parts, kLine);
    const auto own = [&](const Tensor& t) { return t.row_range(tokens.begin, tokens.end - tokens.begin); };
    uint32_t *x_words = words + part * 2 * narrow * stride, *dy_words = x_words + narrow * stride, *pack = packs + part * 64 * 64;
    k_.transpose_narrow(own(op.x_narrow), x_words, stride);
    k_.transpose_narrow(own(op.dy_narrow), dy_words, stride);
    float* da = sums + part / column_parts * size;
    const auto outer = [&](const Tensor& x, uint32_t* narrow_words, int64_t rank, float* out) {
      const Range r = part_of(x.cols, column_parts, part % column_parts, kLine);
      if (r.begin >= r.end) return;
      if (!is_wide(rank, x.dtype)) return k_.outer_product(x, narrow_words, stride, rank, r.begin, r.end, out, x.cols, pack);
      const Product product = wide_outer_product(x, narrow_words, stride, rank, out, x.cols);
      Team alone;
      k_.product(product, product.c.columns(r.begin, r.end - r.begin), 0, r.begin, r.end, panels + part * panel_words, alone);
    };
    outer(own(op.x), dy_words, dy_rank, da);
    for (int i = 0; i < op.count; i++) outer(own(op.outputs[i].dy), x_words + i * part_width * stride, op.rank, da + begin_of[i]);
  });
  parallel_all(threads_, [&](int part) {
    const Range r = part_of(in, threads_, part, kLine);
    scatter_a(op, sums, token_parts, size, r.begin, r.end);
    for (int i = 0; i < op.count; i++) {
      const Range c = part_of(op.outputs[i].dy.cols, threads_, part, kLine);
      scatter_b(op, op.outputs[i], sums + begin_of[i], token_parts, size, c.begin, c.end);
    }
  });
}

}  // namespace espalier::cpu

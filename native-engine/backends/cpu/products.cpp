// Large products.
#include "cpu_backend.h"
#include "parallel.h"

namespace espalier::cpu {

// Divides a product among the threads by rows first: a thread computes and reads its own tokens, as in all other ops, and only panels pass
// between cores. Columns are divided too where each thread would get so few rows that packing and fetching panels would cost too much. The
// number of row parts divides the number of threads, so that all threads have work.
CpuBackend::Grid CpuBackend::grid_of(int64_t rows) const {
  Grid grid{1, threads_};
  for (int64_t parts = 2; parts <= threads_ && parts * kLeastRows <= rows; parts++)
    if (threads_ % parts == 0) grid = {parts, threads_ / parts};
  return grid;
}

// Calls f(rows, part of the columns, number of parts, its panels, team) on each thread. room: the words of one group's panels.
template <class F>
void CpuBackend::parallel_grid(int64_t rows, int64_t room, F&& f) {
  const Grid grid = grid_of(rows);
  const int64_t each = (grid.rows > 1 ? 2 : 1) * room;
  uint32_t* panels = scratch<uint32_t>(kPanel, grid.columns * each);
  for (int64_t column = 0; column < grid.columns; column++) barriers_[column].size = grid.rows;
  parallel_all(threads_, [&](int part) {
    const int64_t column = part % grid.columns;
    Team team{part / grid.columns, grid.rows, [](void* b) { static_cast<Barrier*>(b)->wait(); }, &barriers_[column], room};
    f(part_of(rows, grid.rows, team.index), column, grid.columns, panels + column * each, team);
  });
}

void CpuBackend::launch(const Product& op) {
  if (op.c.rows == 0 || op.c.cols == 0) return;
  if (k_.few_rows_fit(op)) return parallel_parts(threads_, op.c.cols, kLine, [&](int, Range r) { k_.few_rows(op, r.begin, r.end); });
  k_.product_fits(op) ? multiply(op) : multiply_widened(op);
}

void CpuBackend::multiply(const Product& op) {
  parallel_grid(op.c.rows, panel_words(op, 0), [&](Range rows, int64_t part, int64_t parts, uint32_t* panels, Team& team) {
    const Range columns = part_of(op.c.cols, parts, part, kLine);
    if (columns.begin >= columns.end) return;
    const Tensor c = op.c.row_range(rows.begin, rows.end - rows.begin).columns(columns.begin, columns.end - columns.begin);
    k_.product(op, c, rows.begin, columns.begin, columns.end, panels, team);
  });
}

int64_t CpuBackend::panel_words(const Product& op, int64_t whole) const {
  int64_t depth = 0;
  for (int t = 0; t < op.count; t++) depth += op.terms[t].a.cols;
  return static_cast<int64_t>(k_.product_panel_bytes(op.terms[0].a.dtype, depth, op.c.dtype, whole) / sizeof(uint32_t));
}

// Multiplies operands in bf16 as f32, some of their rows at a time.
void CpuBackend::multiply_widened(const Product& op) {
  int64_t depth = 0;
  for (int t = 0; t < op.count; t++) depth += padded_width(op.terms[t].a.cols);
  const int64_t fitting = static_cast<int64_t>(kWidenedBytes / 4) / std::max<int64_t>(depth, 1);
  const int64_t at_once = std::min(std::max<int64_t>(fitting, kLeastRows * threads_), op.c.rows);
  float* floats = scratch<float>(kWidened, at_once * depth);
  for (int64_t first = 0; first < op.c.rows; first += at_once) {
    const int64_t count = std::min(at_once, op.c.rows - first);
    Product part = op;
    part.c = op.c.row_range(first, count);
    int64_t at = 0;
    for (int t = 0; t < op.count; t++) {
      const Tensor from = op.terms[t].a.row_range(first, count);
      if (from.dtype == DType::kF32) {
        part.terms[t].a = from;
        continue;
      }
      const Tensor to = part.terms[t].a = {device(floats + at).as<std::byte>(), DType::kF32, count, from.cols, depth};
      parallel_parts(threads_, count, 1, [&](int, Range r) { k_.widen(from, to, r.begin, r.end); });
      at += padded_width(from.cols);
    }
    multiply(part);
  }
}

namespace {

// The products of queries, keys and values, which lie side by side among the operands.
struct HeadProduct {
  int64_t heads, width, column;
};
std::array<HeadProduct, 3> head_products(const AttentionShape& s) {
  return {{{s.heads, s.query_width, 0}, {s.kv_heads, s.kv_width, s.query_width}, {s.kv_heads, s.kv_width, s.query_width + s.kv_width}}};
}

}  // namespace

void CpuBackend::launch(const AttentionOperands& op) {
  const AttentionShape& s = op.shape;
  const int64_t rows = op.operands.rows, all = s.heads + 2 * s.kv_heads;
  const std::array<HeadProduct, 3> parts = head_products(s);
  const bool few = k_.few_rows_fit(op.products[0]) && k_.few_rows_fit(op.products[1]) && k_.few_rows_fit(op.products[2]);
  if (few || op.norms.whole || !k_.product_fits(op.products[0])) {
    for (size_t p = 0; p < parts.size(); p++) {
      Product whole = op.products[p];
      whole.c = {op.space.data, DType::kF32, rows, parts[p].width, parts[p].width};
      launch(whole);
      const Tensor sums = whole.c.columns(0, parts[p].heads * s.head_dim);
      parallel_parts(threads_, rows, 1, [&](int, Range r) {
        k_.attention_operands(op, sums.row_range(r.begin, r.end - r.begin), parts[p].column, r.begin, r.end);
      });
    }
    return;
  }
  const int64_t block = kMostBlockRows * padded_width(std::max(s.query_width, s.kv_width));
  float* blocks = scratch<float>(kRows, threads_ * block);
  parallel_grid(
      rows, panel_words(op.products[0], s.head_dim), [&](Range own, int64_t part, int64_t part_count, uint32_t* panels, Team& team) {
        // This thread has the heads [heads.begin, heads.end) of the list of query, key and value heads.
        const Range heads = part_of(all, part_count, part);
        float* own_block = blocks + (part + part_count * team.index) * block;
        for (int64_t p = 0, before = 0; p < 3; before += parts[p++].heads) {
          const int64_t first = std::max<int64_t>(heads.begin - before, 0) * s.head_dim,
                        last = std::min(heads.end - before, parts[p].heads) * s.head_dim;
          if (first < last)
            k_.project_heads(op, op.products[p], first, last, parts[p].column + first, own.begin, own.end, panels, team, own_block);
        }
      });
}

}  // namespace espalier::cpu

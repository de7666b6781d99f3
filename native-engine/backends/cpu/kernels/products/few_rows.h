// Products of few rows: x W^T. Each row of W is read from memory once, as it is stored, for all rows of x.
//
// A result is one sum along the row, whose order does not depend on the other rows and columns. So a row has the same results whichever
// rows are computed with it.
#pragma once
#include "espalier/base/dtypes.h"
#include "selection.h"

namespace espalier::cpu::ESPALIER_ISA {

// sums[o * kFewRows + n] += scale * the product of row n of x with the stored row o, over `depth` values.
template <class X, DType kStored, int kOut, int kRows>
static void few_rows_tile(const Tensor& x, int64_t first, const char* const* stored, int64_t depth, float scale, float* sums) {
  vf acc[kOut][kRows] = {};
  const X* rows[kRows];
  for (int n = 0; n < kRows; n++) rows[n] = row_ptr<X>(x, first + n);
  int64_t j = 0;
  for (; j + W <= depth; j += W) {
    vf values[kRows];
    for (int n = 0; n < kRows; n++) values[n] = load(rows[n] + j);
    for (int o = 0; o < kOut; o++) {
      const vf weight = load_stored<kStored>(stored[o], j);
      for (int n = 0; n < kRows; n++) acc[o][n] += weight * values[n];
    }
  }
  for (int o = 0; o < kOut; o++) {
    const vf weight = j < depth ? load_stored_part<kStored>(stored[o], j, depth - j) : vf{};
    for (int n = 0; n < kRows; n++) {
      if (j < depth) acc[o][n] += weight * load_part(rows[n] + j, depth - j);
      sums[o * kFewRows + first + n] += scale * sum_lanes(acc[o][n]);
    }
  }
}

template <class X, DType kStored, int kOut>
static void few_rows_columns(const Tensor& x, const char* const* stored, int64_t depth, float scale, float* sums) {
  int64_t n = 0;
  for (; n + 4 <= x.rows; n += 4) few_rows_tile<X, kStored, kOut, 4>(x, n, stored, depth, scale, sums);
  for (; n < x.rows; n++) few_rows_tile<X, kStored, kOut, 1>(x, n, stored, depth, scale, sums);
}

// Adds the sums of one term for the columns [first, first + count), at most kColumns.
inline constexpr int kColumns = 8;
template <class X, DType kStored>
static void few_rows_term(const ProductTerm& term, int64_t first, int64_t count, float* sums) {
  const Selection& b = term.b;
  const int64_t depth = term.a.cols < b.stored.cols ? term.a.cols : b.stored.cols;
  const char* rows[kColumns];
  bool none[kColumns] = {};
  for (int64_t o = 0; o < kColumns; o++) {
    const int64_t row = o < count ? stored_row(b, first + o) : -1;
    none[o] = row < 0;
    rows[o] = reinterpret_cast<const char*>(host(b.stored.data)) + (row < 0 ? 0 : row) * b.stored.cols * dtype_bytes(kStored);
  }
  float made[kColumns * kFewRows] = {};
  if (term.a.rows == 1)
    few_rows_columns<X, kStored, 8>(term.a, rows, depth, b.scale, made);
  else
    for (int o = 0; o < kColumns; o += 4) few_rows_columns<X, kStored, 4>(term.a, rows + o, depth, b.scale, made + o * kFewRows);
  for (int64_t o = 0; o < count; o++)
    if (!none[o])
      for (int64_t n = 0; n < term.a.rows; n++) sums[o * kFewRows + n] += made[o * kFewRows + n];
}

static bool few_rows_fit(const Product& op) {
  if (!op.transposed || op.terms[0].a.rows > kFewRows) return false;
  for (int t = 0; t < op.count; t++)
    if (op.terms[t].b.col_index) return false;
  return true;
}

static void few_rows(const Product& op, int64_t begin, int64_t end) {
  for (int64_t first = begin; first < end; first += kColumns) {
    const int64_t count = end - first < kColumns ? end - first : kColumns;
    float sums[kColumns * kFewRows] = {};
    for (int t = 0; t < op.count; t++) {
      const ProductTerm& term = op.terms[t];
      with_compute_type(term.a.dtype, [&](auto x) {
        using X = decltype(x);
        switch (term.b.stored.dtype) {
          case DType::kF32:
            return few_rows_term<X, DType::kF32>(term, first, count, sums);
          case DType::kBF16:
            return few_rows_term<X, DType::kBF16>(term, first, count, sums);
          case DType::kF16:
            return few_rows_term<X, DType::kF16>(term, first, count, sums);
        }
      });
    }
    with_compute_type(op.c.dtype, [&](auto type) {
      using C = decltype(type);
      for (int64_t n = 0; n < op.c.rows; n++) {
        C* to = row_ptr<C>(op.c, n) + first;
        for (int64_t o = 0; o < count; o++) {
          float sum = sums[o * kFewRows + n];
          if (op.column_scale) sum *= host(op.column_scale)[first + o];
          if (op.accumulate) sum += to_float(to[o]);
          store_part(to + o, splat(sum), 1);
        }
      }
    });
  }
}

}  // namespace espalier::cpu::ESPALIER_ISA

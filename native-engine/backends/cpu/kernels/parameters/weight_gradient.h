// The ops that gradients of whole weights need besides products: dy transposed, sums over columns, and rows that are added to the
// embedding's gradient.
#pragma once
#include "tile.h"

namespace espalier::cpu::ESPALIER_ISA {

// Writes rows [begin, end) and columns [first, last) of the result.
template <class T>
static void transpose_part(const Transpose& op, int64_t begin, int64_t end, int64_t first, int64_t last) {
  for (int64_t j = begin; j < end; j++) {
    T* to = row_ptr<T>(op.to, j);
    for (int64_t n = first; n < last; n++) to[n] = n < op.from.rows ? row_ptr<const T>(op.from, n)[j] : T{};
  }
}

#if defined(__AVX512BF16__)
// Transposes 16 columns of 32 rows. Two rows are interleaved to 16 words of two values, and the 16 x 16 words are transposed in registers.
static void transpose_pairs(const Transpose& op, int64_t j, int64_t first) {
  alignas(64) uint32_t words[16 * 16];
  for (int64_t pair = 0; pair < 16; pair++) {
    const auto half = [&](int64_t n) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row_ptr<const bf16>(op.from, n) + j)); };
    _mm512_store_si512(words + pair * 16, (__m512i)interleave(half(first + 2 * pair), half(first + 2 * pair + 1)));
  }
  transpose_block(words, 16, reinterpret_cast<uint32_t*>(row_ptr<bf16>(op.to, j) + first), op.to.stride / 2);
}
#endif

// Transposes in blocks, so that the lines of both matrices stay in the innermost cache.
template <class T>
static void transpose_rows(const Transpose& op, int64_t begin, int64_t end) {
  constexpr int64_t kBlock = 32;
  for (int64_t first = 0; first < op.to.cols; first += kBlock) {
    int64_t j = begin;
#if defined(__AVX512BF16__)
    if constexpr (sizeof(T) == 2)
      if (first + kBlock <= std::min(op.from.rows, op.to.cols) && op.to.stride % 2 == 0)
        for (; j + 16 <= end; j += 16) transpose_pairs(op, j, first);
#endif
    transpose_part<T>(op, j, end, first, std::min(first + kBlock, op.to.cols));
  }
}

static void transpose(const Transpose& op, int64_t begin, int64_t end) {
  with_compute_type(op.from.dtype, [&](auto value) { transpose_rows<decltype(value)>(op, begin, end); });
}

// Sums kColumns neighbouring places in double, over all rows and over the columns that fold to the same place.
template <class A, class B>
static void column_dot_of(const ColumnDot& op, int64_t begin, int64_t end) {
  constexpr int64_t kColumns = 64;
  const float *row_scale = host(op.row_scale), *column_scale = host(op.column_scale);
  float* out = host(op.out);
  for (int64_t first = begin; first < end; first += kColumns) {
    const int64_t count = std::min(kColumns, end - first);
    double total[kColumns] = {};
    for (int64_t column = first; column < op.a.cols; column += op.fold) {
      double sums[kColumns] = {};
      for (int64_t n = 0; n < op.a.rows; n++) {
        const A* a = row_ptr<const A>(op.a, n) + column;
        const B* b = op.b ? row_ptr<const B>(op.b, n) + column : nullptr;
        const float scale = row_scale ? row_scale[n] : 1.0f;
        for (int64_t j = 0; j < count; j++) sums[j] += static_cast<double>(to_float(a[j])) * (b ? to_float(b[j]) * scale : scale);
      }
      for (int64_t j = 0; j < count; j++) total[j] += column_scale ? sums[j] * column_scale[column + j] : sums[j];
    }
    for (int64_t j = 0; j < count; j++) out[first + j] += static_cast<float>(total[j]);
  }
}

static void column_dot(const ColumnDot& op, int64_t begin, int64_t end) {
  with_compute_type(op.a.dtype, [&](auto a) {
    with_compute_type(op.b ? op.b.dtype : DType::kF32, [&](auto b) { column_dot_of<decltype(a), decltype(b)>(op, begin, end); });
  });
}

static void embed_gradient(const EmbedGradient& op, int64_t begin, int64_t end) {
  const int32_t* ids = host(op.ids);
  const float* scale = host(op.scale);
  for (int64_t n = 0; n < op.dx.rows; n++) {
    const float* dx = row_ptr<const float>(op.dx, n);
    float* row = row_ptr<float>(op.table, ids[n]);
    for (int64_t j = begin; j < end; j++) row[j] += scale ? scale[j] * dx[j] : dx[j];
  }
}

}  // namespace espalier::cpu::ESPALIER_ISA

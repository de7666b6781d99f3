// Effective weights: open rows and columns, scales and LoRA folded in, rounded once.
#pragma once
#include "simd.h"

namespace espalier::cpu::ESPALIER_ISA {

static inline float half_to_float(uint16_t h) {
  const uint32_t sign = (h & 0x8000u) << 16, exponent = (h >> 10) & 31u, mantissa = h & 0x3ffu;
  if (exponent == 0) {
    const float tiny = static_cast<float>(mantissa) * 5.9604644775390625e-8f;  // 2^-24
    return sign ? -tiny : tiny;
  }
  const uint32_t u = exponent == 31 ? sign | 0x7f800000u | (mantissa << 13) : sign | ((exponent + 112) << 23) | (mantissa << 13);
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}

// Unaligned element reads: tensors of a mapped file need not be aligned to their element.
static inline float read_weight(const char* row, DType t, int64_t j) {
  if (t == DType::kF32) {
    float f;
    std::memcpy(&f, row + j * 4, 4);
    return f;
  }
  uint16_t h;
  std::memcpy(&h, row + j * 2, 2);
  return t == DType::kBF16 ? to_float(bf16{h}) : half_to_float(h);
}

template <DType kType>
static inline void read_row_of(const char* row, const int32_t* cols, int64_t count, float* out) {
  if (cols) {
    for (int64_t j = 0; j < count; j++) out[j] = cols[j] < 0 ? 0.0f : read_weight(row, kType, cols[j]);
    return;
  }
  int64_t j = 0;
  if constexpr (kType == DType::kBF16)
    for (; j + W <= count; j += W) store(out + j, load(reinterpret_cast<const bf16*>(row) + j));
  if constexpr (kType == DType::kF32) {
    std::memcpy(out, row, count * 4);
    j = count;
  }
#if defined(__AVX512F__)
  if constexpr (kType == DType::kF16)
    for (; j + W <= count; j += W)
      store(out + j, (vf)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + j * 2))));
#endif
  for (; j < count; j++) out[j] = read_weight(row, kType, j);
}

static inline void read_row(const WeightView& w, int64_t r, const int32_t* cols, int64_t count, float* out) {
  const char* row = static_cast<const char*>(w.data) + r * w.cols * dtype_bytes(w.dtype);
  if (w.dtype == DType::kBF16) return read_row_of<DType::kBF16>(row, cols, count, out);
  if (w.dtype == DType::kF32) return read_row_of<DType::kF32>(row, cols, count, out);
  read_row_of<DType::kF16>(row, cols, count, out);
}

inline constexpr int64_t kGatherRows = 4;

// What the rows of one fold need: where they go, their scales and LoRA's B, [rank, kGatherRows], zero for padding.
struct FoldRows {
  float scale[kGatherRows];
  const float* b;
};

// Columns [j, j + kVectors * W) of kRows rows: LoRA's A is read once for all rows, B once for all columns.
template <class T, int kRows, int kVectors>
static inline __attribute__((always_inline)) void fold_block(const GatherWeights& op, const float* a, const FoldRows& f, int64_t first,
                                                             int64_t j, const float* rows) {
  const int64_t width = op.out.cols;
  vf v[kRows][kVectors];
  for (int i = 0; i < kRows; i++)
    for (int c = 0; c < kVectors; c++) {
      v[i][c] = load(rows + i * width + j + c * W);
      if (op.col_scale) v[i][c] *= load(op.col_scale + j + c * W);
    }
  for (int64_t k = 0; f.b && k < op.rank; k++) {
    vf ak[kVectors];
    for (int c = 0; c < kVectors; c++) ak[c] = load(a + k * width + j + c * W);
    for (int i = 0; i < kRows; i++)
      for (int c = 0; c < kVectors; c++) v[i][c] += f.b[k * kGatherRows + i] * ak[c];
  }
  for (int i = 0; i < kRows; i++)
    for (int c = 0; c < kVectors; c++) store(row_ptr<T>(op.out, first + i) + j + c * W, v[i][c] * f.scale[i]);
}

// `b` has room for [rank, kGatherRows].
template <class T, int kRows>
static void fold_rows(const GatherWeights& op, const float* a, int64_t first, const float* rows, float* b) {
  FoldRows f{{}, op.lora_b ? b : nullptr};
  for (int i = 0; i < kRows; i++) {
    const int64_t r = op.rows ? op.rows[first + i] : first + i;
    f.scale[i] = r < 0 ? 0.0f : op.row_scale ? op.row_scale[first + i] : 1.0f;
    for (int64_t k = 0; f.b && k < op.rank; k++) b[k * kGatherRows + i] = r < 0 ? 0.0f : op.lora_b[r * op.rank + k];
  }
  constexpr int kVectors = W == 16 ? 4 : 2;
  int64_t j = 0;
  for (; j + kVectors * W <= op.out.cols; j += kVectors * W) fold_block<T, kRows, kVectors>(op, a, f, first, j, rows);
  for (; j < op.out.cols; j += W) fold_block<T, kRows, 1>(op, a, f, first, j, rows);
}

template <class T>
static void gather_rows_of(const GatherWeights& op, const float* a, int64_t begin, int64_t end, float* scratch) {
  const int64_t width = op.out.cols;
  const int64_t readable = op.cols ? width : (op.weight.cols < width ? op.weight.cols : width);
  float* b = scratch + kGatherRows * width;
  for (int64_t first = begin; first < end; first += kGatherRows) {
    const int64_t count = end - first < kGatherRows ? end - first : kGatherRows;
    for (int64_t i = 0; i < count; i++) {
      const int64_t r = op.rows ? op.rows[first + i] : first + i;
      float* row = scratch + i * width;
      if (r >= 0) read_row(op.weight, r, op.cols, readable, row);
      for (int64_t j = r >= 0 ? readable : 0; j < width; j++) row[j] = 0;
    }
    if (count == kGatherRows)
      fold_rows<T, kGatherRows>(op, a, first, scratch, b);
    else
      for (int64_t i = 0; i < count; i++) fold_rows<T, 1>(op, a, first + i, scratch + i * width, b);
  }
}

// a: [rank, out.cols], A's open columns times lora_scale and col_scale. scratch: kGatherRows rows of floats, and as many
// columns of LoRA's rank.
static void gather_rows(const GatherWeights& op, const float* a, int64_t begin, int64_t end, float* scratch) {
  with_compute_type(op.out.dtype, [&](auto t) { gather_rows_of<decltype(t)>(op, a, begin, end, scratch); });
}

// Columns [begin, end) of that `a`.
static void scale_lora_a(const GatherWeights& op, float* a, int64_t begin, int64_t end) {
  const int64_t width = op.out.cols;
  for (int64_t k = 0; k < op.rank; k++)
    for (int64_t j = begin; j < end; j++) {
      const int64_t c = op.cols ? op.cols[j] : j < op.weight.cols ? j : -1;
      a[k * width + j] = c < 0 ? 0.0f : op.lora_a[k * op.weight.cols + c] * op.lora_scale * (op.col_scale ? op.col_scale[j] : 1.0f);
    }
}

static void embed(const Embed& op, int64_t begin, int64_t end) {
  const int64_t width = op.out.cols;
  const int64_t readable = op.cols ? width : (op.table.cols < width ? op.table.cols : width);
  for (int64_t n = begin; n < end; n++) {
    float* out = row_ptr<float>(op.out, n);
    read_row(op.table, op.ids[n], op.cols, readable, out);
    for (int64_t j = readable; j < width; j++) out[j] = 0;
    if (op.scale)
      for (int64_t j = 0; j < width; j += W) store(out + j, load(out + j) * load(op.scale + j));
  }
}

static void spread_columns(Tensor to, Tensor from, const int32_t* cols, int64_t begin, int64_t end) {
  with_compute_type(to.dtype, [&](auto t) {
    using T = decltype(t);
    for (int64_t n = begin; n < end; n++) {
      T* out = row_ptr<T>(to, n);
      const T* in = row_ptr<T>(from, n);
      std::memset(out, 0, to.cols * sizeof(T));
      for (int64_t j = 0; j < from.cols; j++)
        if (cols[j] >= 0) out[cols[j]] = in[j];
    }
  });
}

static void select_columns(Tensor to, Tensor from, const int32_t* cols, int64_t begin, int64_t end) {
  with_compute_type(to.dtype, [&](auto t) {
    using T = decltype(t);
    for (int64_t n = begin; n < end; n++) {
      T* out = row_ptr<T>(to, n);
      const T* in = row_ptr<T>(from, n);
      for (int64_t j = 0; j < to.cols; j++) out[j] = cols[j] < 0 ? T{} : in[cols[j]];
    }
  });
}

}  // namespace espalier::cpu::ESPALIER_ISA

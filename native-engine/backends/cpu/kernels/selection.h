// Reads stored matrices of any dtype by lists of rows and columns.
#pragma once
#include "espalier/base/dtypes.h"
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

// Reads an element at any address: tensors of a mapped file need not be aligned to their elements.
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
    for (; j + W <= count; j += W) store(out + j, (vf)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + j * 2))));
#endif
  for (; j < count; j++) out[j] = read_weight(row, kType, j);
}

static inline void read_row(const StoredMatrix& w, int64_t r, const int32_t* cols, int64_t count, float* out) {
  const char* row = reinterpret_cast<const char*>(host(w.data)) + r * w.cols * dtype_bytes(w.dtype);
  if (w.dtype == DType::kBF16) return read_row_of<DType::kBF16>(row, cols, count, out);
  if (w.dtype == DType::kF32) return read_row_of<DType::kF32>(row, cols, count, out);
  read_row_of<DType::kF16>(row, cols, count, out);
}

// Returns the stored row of a selection's row; -1 stands for a row of zeros.
static inline int64_t stored_row(const Selection& s, int64_t i) { return s.row_index ? host(s.row_index)[i] : i < s.stored.rows ? i : -1; }

template <DType kStored>
static inline vf load_stored(const char* row, int64_t j) {
  if constexpr (kStored == DType::kBF16) return load(reinterpret_cast<const bf16*>(row) + j);
  if constexpr (kStored == DType::kF32) return load(reinterpret_cast<const float*>(row) + j);
#if defined(__AVX512F__)
  return (vf)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + j * 2)));
#elif defined(__AVX2__)
  return (vf)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row + j * 2)));
#elif defined(__aarch64__)
  return (vf)vcvt_f32_f16(load_raw<float16x4_t>(row + j * 2));
#else
  float values[W];
  for (int i = 0; i < W; i++) values[i] = read_weight(row, kStored, j + i);
  return load(values);
#endif
}

// Loads the first `count` lanes; the others are 0. A row whose width is no multiple of W ends so: the load has to be as fast as any other.
template <DType kStored>
static inline vf load_stored_part(const char* row, int64_t j, int64_t count) {
  if constexpr (kStored == DType::kBF16) return load_part(reinterpret_cast<const bf16*>(row) + j, count);
  if constexpr (kStored == DType::kF32) return load_part(reinterpret_cast<const float*>(row) + j, count);
#if defined(__AVX512F__)
  return (vf)_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_lanes(count), row + j * 2));
#else
  char last[W * 4] = {};
  std::memcpy(last, row + j * dtype_bytes(kStored), count * dtype_bytes(kStored));
  return load_stored<kStored>(last, 0);
#endif
}

// Widens rows [begin, end) to f32.
static void widen(Tensor from, Tensor to, int64_t begin, int64_t end) {
  for (int64_t n = begin; n < end; n++) {
    const bf16* values = row_ptr<const bf16>(from, n);
    float* floats = row_ptr<float>(to, n);
    int64_t j = 0;
    for (; j + W <= from.cols; j += W) store(floats + j, load(values + j));
    for (; j < from.cols; j++) floats[j] = to_float(values[j]);
  }
}

static void embed(const Embed& op, int64_t begin, int64_t end) {
  const int64_t width = op.out.cols;
  const int64_t readable = op.cols ? width : (op.table.cols < width ? op.table.cols : width);
  for (int64_t n = begin; n < end; n++) {
    float* out = row_ptr<float>(op.out, n);
    read_row(op.table, host(op.ids)[n], host(op.cols), readable, out);
    for (int64_t j = readable; j < width; j++) out[j] = 0;
    if (const float* scale = host(op.scale))
      for (int64_t j = 0; j < width; j += W) store(out + j, load(out + j) * load(scale + j));
  }
}

}  // namespace espalier::cpu::ESPALIER_ISA

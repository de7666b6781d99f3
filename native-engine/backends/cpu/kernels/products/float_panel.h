// Panels of a product in f32: 16, 32, 48 or 64 columns of a selection. Packing applies lists, other stored dtypes and scales, so no copy of
// a weight is ever made.
#pragma once
#include "products/panel_group.h"
#include "selection.h"

namespace espalier::cpu::ESPALIER_ISA {

// Calls f with the stored dtype as a constant.
template <class F>
static inline void with_stored_type(DType t, F&& f) {
  if (t == DType::kF32) return f(std::integral_constant<DType, DType::kF32>{});
  if (t == DType::kBF16) return f(std::integral_constant<DType, DType::kBF16>{});
  f(std::integral_constant<DType, DType::kF16>{});
}

// Turns blocks of W by W words: to[j * width + i] = from[i * 16 + j], for a block of 16 by 16.
template <bool kShared>
static inline void turn_block(const uint32_t* from, int64_t lines, int64_t width, uint32_t* to) {
#if defined(__AVX512F__)
  alignas(64) uint32_t turned[16 * 16];
  transpose_block(from, 16, turned, 16);
  for (int64_t i = 0; i < lines; i++) put_words<kShared>(to + i * width, load_raw<vu>(turned + i * 16));
#else
  vi low, high;  // the places of the halves of two vectors that are interleaved
  for (int i = 0; i < W; i++) low[i] = i / 2 + (i % 2) * W, high[i] = W / 2 + i / 2 + (i % 2) * W;
  for (int64_t row = 0; row < 16; row += W)
    for (int64_t column = 0; column < lines; column += W) {
      vu r[W], t[W];
      for (int i = 0; i < W; i++) r[i] = load_raw<vu>(from + (row + i) * 16 + column);
      for (int step = 1; step < W; step *= 2) {
        for (int i = 0; i < W / 2; i++) {
          t[2 * i] = __builtin_shuffle(r[i], r[i + W / 2], low);
          t[2 * i + 1] = __builtin_shuffle(r[i], r[i + W / 2], high);
        }
        for (int i = 0; i < W; i++) r[i] = t[i];
      }
      for (int64_t i = 0; i < W && column + i < lines; i++) put_words<kShared>(to + (column + i) * width + row, r[i]);
    }
#endif
}

struct FloatPacking {
  static constexpr int kPair = 1;

  // Packs one vector of a panel [words, width] from the selection's rows [first, first + count), at most 16, which lie along the summed
  // dimension. It packs the part [from, from + words) of this dimension, in turned blocks of 16 by 16.
  template <bool kShared>
  static void turned(const Selection& s, int64_t first, int64_t count, int64_t from, int64_t words, int64_t, int64_t width,
                     uint32_t* panel) {
    with_stored_type(s.stored.dtype, [&](auto type) {
      const char* stored[16];
      for (int64_t i = 0; i < 16; i++) stored[i] = i < count ? stored_bytes(s, first + i) : nullptr;
      for (int64_t w = 0; w < words; w += 16) {
        alignas(64) float block[16 * 16];
        const int64_t here = words - w < 16 ? words - w : 16;
        const Columns columns(s, from + w, here);
        for (int64_t i = 0; i < 16; i++) columns.read<type.value>(stored[i], block + i * 16);
        turn_block<kShared>(reinterpret_cast<const uint32_t*>(block), here, width, panel + w * width);
      }
    });
  }

  // Packs a panel where the selection's rows [from, from + words) are the summed dimension, in the columns [first, first + count).
  template <bool kShared>
  static void rows(const Selection& s, int64_t first, int64_t count, int64_t from, int64_t words, int64_t vectors, uint32_t* panel) {
    with_stored_type(s.stored.dtype, [&](auto type) {
      for (int64_t w = 0; w < words; w++) {
        const char* stored = stored_bytes(s, from + w);
        for (int64_t v = 0; v < vectors; v++) {
          alignas(64) float line[16];
          const int64_t here = count - v * 16 < 16 ? count - v * 16 : 16;
          Columns(s, first + v * 16, here).read<type.value>(stored, line);
          for (int i = 0; i < 16; i += W) put_words<kShared>(panel + (w * vectors + v) * 16 + i, (vu)load(line + i));
        }
      }
    });
  }

 private:
  static const char* stored_bytes(const Selection& s, int64_t i) {
    const int64_t r = stored_row(s, i);
    return r < 0 ? nullptr : reinterpret_cast<const char*>(host(s.stored.data)) + r * s.stored.cols * dtype_bytes(s.stored.dtype);
  }

  // Up to 16 columns of a selection. Columns beyond the list and beyond the stored matrix are zeros.
  struct Columns {
    int64_t first, count;
    const int32_t* cols;
    float scale;

    Columns(const Selection& s, int64_t j, int64_t n)
        : first(j), count(n), cols(s.col_index ? host(s.col_index) + j : nullptr), scale(s.scale) {
      if (!cols && count > s.stored.cols - first) count = s.stored.cols - first > 0 ? s.stored.cols - first : 0;
    }

    template <DType kStored>
    void read(const char* row, float* to) const {
      if (!row || count < 16) std::memset(to, 0, 64);
      if (!row) return;
      if (cols) {
        for (int64_t i = 0; i < count; i++) to[i] = cols[i] < 0 ? 0.0f : read_weight(row, kStored, cols[i]) * scale;
      } else if (count == 16) {
        for (int i = 0; i < 16; i += W) store(to + i, load_stored<kStored>(row, first + i) * scale);
      } else {
        for (int64_t i = 0; i < count; i++) to[i] = read_weight(row, kStored, first + i) * scale;
      }
    }
  };
};

}  // namespace espalier::cpu::ESPALIER_ISA

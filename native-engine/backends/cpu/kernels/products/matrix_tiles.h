// Large bf16 products by matrix tiles.
#pragma once
#include "products/pair_panel.h"
#include "products/tile_registers.h"

#if defined(__AVX512BF16__)
namespace espalier::cpu::ESPALIER_ISA {

class MatrixTiles {
 public:
  using Packing = PairPacking;
  static constexpr int64_t kDepth = kTileDepth;  // spans are filled up with zeros to a multiple of this number of words
  static constexpr int64_t kPanelVectors = 2;
  static constexpr int64_t kBlockRows = 2 * kTileRows;  // for the second half of these rows a panel is in the innermost cache

  // Multiplies at most kBlockRows rows by all panels of a group. c: the group's first column. The sums of a place are written while the
  // tiles multiply for the next place, since a store of a tile takes long to reach the cache.
  template <class C>
  void block(const PanelGroup& g, int64_t row, int64_t rows, C* c, int64_t ldc, const float* scale, bool accumulate) {
    copy_tails(g, row, rows);
    Place<C> stored{};  // where the stored sums belong that are not written yet
    for (int64_t i = 0; i < g.count; i++) {
      const int64_t column = g.first_vector(i) * 16;
      for (int64_t from = 0; from < rows; from += kTileRows) {
        const int64_t here = rows - from < kTileRows ? rows - from : kTileRows;
        registers_.shape(here);
        TileRegisters::with_tiles(here, g.panel_vectors(i) == 2, [&](auto halves, auto vectors) {
          multiply<halves.value, vectors.value>(g, row, from, g.panels + column * g.words);
          write(stored, ldc, accumulate);
          store_sums<halves.value, vectors.value>(sums_[0], 32);
        });
        stored = {c + from * ldc + column, scale ? scale + column : nullptr, here, g.columns - column};
      }
    }
    write(stored, ldc, accumulate);
  }

 private:
  template <class C>
  struct Place {
    C* c;
    const float* scale;
    int64_t rows, columns;
  };

  // Copies the last words of each span where they don't fill a tile, and fills the tile up with zeros.
  void copy_tails(const PanelGroup& g, int64_t row, int64_t rows) {
    for (int s = 0; s < g.span_count; s++) {
      const Span& span = g.spans[s];
      const int64_t tail = span.words % kDepth;
      if (tail == 0) continue;
      const uint32_t* from = span.a + row * span.lda + span.words - tail;
      const __mmask16 lanes = first_lanes(tail);
      for (int64_t i = 0; i < rows; i++) _mm512_store_si512(tails_[s][i], _mm512_maskz_loadu_epi32(lanes, from + i * span.lda));
    }
  }

  // Multiplies the rows from row + from on by one panel.
  template <int kHalves, int kVectors>
  void multiply(const PanelGroup& g, int64_t row, int64_t from, const uint32_t* b) {
    zero_sums<kHalves, kVectors>();
    for (int s = 0; s < g.span_count; s++) {
      const Span& span = g.spans[s];
      const uint32_t* a = span.a + (row + from) * span.lda;
      int64_t k = 0;
      for (; k + kDepth <= span.words; k += kDepth, b += kDepth * kVectors * 16)
        multiply_words<kHalves, kVectors>(a + k, span.lda, b, kVectors * 16);
      if (k == span.words) continue;
      multiply_words<kHalves, kVectors>(tails_[s][from], kDepth, b, kVectors * 16);
      b += kDepth * kVectors * 16;
    }
  }

  template <class C>
  void write(const Place<C>& to, int64_t ldc, bool accumulate) const {
    if (to.columns < 32) return write_columns<false, true>(to, ldc, accumulate);
    to.scale || accumulate ? write_columns<true, true>(to, ldc, accumulate) : write_columns<true, false>(to, ldc, false);
  }

  // kWhole: all 32 columns are there. kChanged: the sums are scaled, or added to what c holds.
  template <bool kWhole, bool kChanged, class C>
  void write_columns(const Place<C>& to, int64_t ldc, bool accumulate) const {
    const int64_t columns = kWhole ? 32 : to.columns;
    C* c = to.c;
    for (int64_t i = 0; i < to.rows; i++, c += ldc) {
      const __m512 low = _mm512_load_ps(sums_[i]), high = _mm512_load_ps(sums_[i] + 16);
      if constexpr (kChanged) {
        write_sums((vf)low, c, to.scale, accumulate, columns);
        write_sums((vf)high, c + 16, to.scale ? to.scale + 16 : nullptr, accumulate, columns - 16);
      } else if constexpr (sizeof(C) == 4) {
        _mm512_storeu_ps(c, low);
        _mm512_storeu_ps(c + 16, high);
      } else {
        _mm512_storeu_si512(c, (__m512i)_mm512_cvtne2ps_pbh(high, low));
      }
    }
  }

  TileRegisters registers_;
  alignas(64) uint32_t tails_[kMostSpans][kBlockRows][kDepth];
  alignas(64) float sums_[kTileRows][32];
};

}  // namespace espalier::cpu::ESPALIER_ISA
#endif

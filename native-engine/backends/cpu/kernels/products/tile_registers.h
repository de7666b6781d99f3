// Registers of matrix tiles (AMX). A tile is 16 rows of 64 bytes. One instruction multiplies 16 rows of 32 bf16 by 16 words of 16 columns
// and adds the products to 16 x 16 sums in f32.
//
// An instruction sums the values at even and at odd places apart, adds both sums, and adds the result to the tile. So these products round
// otherwise than products of pairs. The sums of a row depend neither on the rows beside it nor on the thread.
#pragma once
#include <type_traits>

#include "tile.h"

#if defined(__AVX512BF16__)
namespace espalier::cpu::ESPALIER_ISA {

template <int kTile>
static inline void tile_zero() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
}
template <int kTile>
static inline void tile_load(const void* from, int64_t stride_bytes) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride_bytes), "i"(kTile) : "memory");
}
template <int kTile>
static inline void tile_store(void* to, int64_t stride_bytes) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride_bytes), "i"(kTile) : "memory");
}
template <int kSums, int kRows, int kColumns>
static inline void tile_multiply() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kRows), "i"(kColumns));
}

inline constexpr int64_t kTileDepth = 16;  // the words of one instruction
inline constexpr int64_t kTileRows = 32;   // two tiles

// Tiles for up to 32 rows and 32 columns. Tiles 0 to 3 hold sums: of the first 16 rows in 0 and 1, of the second 16 rows in 2 and 3. Tiles
// 4 and 5 hold rows, 6 and 7 words of columns.
class TileRegisters {
 public:
  TileRegisters() = default;
  TileRegisters(const TileRegisters&) = delete;
  // Without this, each switch of threads would save the tiles.
  ~TileRegisters() { asm volatile("tilerelease"); }

  // Sets the number of rows of each tile, so that no memory behind the last row is touched.
  void shape(int64_t rows) {
    if (rows == shaped_rows_) return;
    shaped_rows_ = rows;
    Shapes s;
    const auto first = static_cast<uint8_t>(rows < 16 ? rows : 16), second = static_cast<uint8_t>(rows > 16 ? rows - 16 : 1);
    s.rows[0] = s.rows[1] = s.rows[4] = first;
    s.rows[2] = s.rows[3] = s.rows[5] = second;
    s.rows[6] = s.rows[7] = 16;
    asm volatile("ldtilecfg %0" ::"m"(s));
  }

  // Calls f(halves, vectors) with the numbers of tiles that hold `rows` rows and this number of vectors of columns.
  template <class F>
  static inline void with_tiles(int64_t rows, bool two_vectors, F&& f) {
    using One = std::integral_constant<int, 1>;
    using Two = std::integral_constant<int, 2>;
    if (rows > 16)
      two_vectors ? f(Two{}, Two{}) : f(Two{}, One{});
    else
      two_vectors ? f(One{}, Two{}) : f(One{}, One{});
  }

 private:
  struct alignas(64) Shapes {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {};
  };
  int64_t shaped_rows_ = 0;
};

template <int kHalves, int kVectors>
static inline __attribute__((always_inline)) void zero_sums() {
  tile_zero<0>();
  if constexpr (kVectors == 2) tile_zero<1>();
  if constexpr (kHalves == 2) tile_zero<2>();
  if constexpr (kHalves == 2 && kVectors == 2) tile_zero<3>();
}

template <int kHalves, int kVectors>
static inline __attribute__((always_inline)) void load_sums(const float* sums, int64_t stride) {
  tile_load<0>(sums, stride * 4);
  if constexpr (kVectors == 2) tile_load<1>(sums + 16, stride * 4);
  if constexpr (kHalves == 2) tile_load<2>(sums + 16 * stride, stride * 4);
  if constexpr (kHalves == 2 && kVectors == 2) tile_load<3>(sums + 16 * stride + 16, stride * 4);
}

template <int kHalves, int kVectors>
static inline __attribute__((always_inline)) void store_sums(float* sums, int64_t stride) {
  tile_store<0>(sums, stride * 4);
  if constexpr (kVectors == 2) tile_store<1>(sums + 16, stride * 4);
  if constexpr (kHalves == 2) tile_store<2>(sums + 16 * stride, stride * 4);
  if constexpr (kHalves == 2 && kVectors == 2) tile_store<3>(sums + 16 * stride + 16, stride * 4);
}

// Multiplies kTileDepth words of the rows by those of the columns. Strides are counted in words.
template <int kHalves, int kVectors>
static inline __attribute__((always_inline)) void multiply_words(const uint32_t* a, int64_t lda, const uint32_t* b, int64_t ldb) {
  tile_load<6>(b, ldb * 4);
  tile_load<4>(a, lda * 4);
  tile_multiply<0, 4, 6>();
  if constexpr (kVectors == 2) {
    tile_load<7>(b + 16, ldb * 4);
    tile_multiply<1, 4, 7>();
  }
  if constexpr (kHalves == 2) {
    tile_load<5>(a + 16 * lda, lda * 4);
    tile_multiply<2, 5, 6>();
    if constexpr (kVectors == 2) tile_multiply<3, 5, 7>();
  }
}

// Pairs of bf16 that matrix tiles multiply.
struct TileWords : Bf16Words {
  using Registers = TileRegisters;
};

// c [m, n] (+)= a [m, words] b [words, n] by tiles, for small operands that lie in the cache; n is a multiple of 16. A depth that tiles
// don't divide is left to vectors.
template <>
inline void tile_product<TileWords>(TileRegisters& registers, int64_t m, int64_t n, int64_t words, const uint32_t* a, int64_t lda,
                                    const uint32_t* b, int64_t ldb, float* c, int64_t ldc, bool accumulate) {
  if (words % kTileDepth != 0) return tile_product<Bf16Words>(m, n, words, a, lda, b, ldb, c, ldc, accumulate);
  for (int64_t i = 0; i < m; i += kTileRows) {
    const int64_t rows = m - i < kTileRows ? m - i : kTileRows;
    registers.shape(rows);
    for (int64_t j = 0; j < n; j += 32)
      TileRegisters::with_tiles(rows, j + 16 < n, [&](auto halves, auto vectors) {
        float* sums = c + i * ldc + j;
        if (accumulate)
          load_sums<halves.value, vectors.value>(sums, ldc);
        else
          zero_sums<halves.value, vectors.value>();
        for (int64_t k = 0; k < words; k += kTileDepth)
          multiply_words<halves.value, vectors.value>(a + i * lda + k, lda, b + k * ldb + j, ldb);
        store_sums<halves.value, vectors.value>(sums, ldc);
      });
  }
}

}  // namespace espalier::cpu::ESPALIER_ISA
#endif

// How a tensor core adds products of bf16 values to a sum in f32. It never rounds to the nearest: it cuts off.
//
// A block of products and the sum before it are aligned to the largest exponent among them, and what lies below the last kept bit is cut
// off each of them. The rest is added exactly, and the total is cut off to f32. The next block begins with that total. An A100 takes blocks
// of 8 products and keeps one bit beyond the fraction of f32; an H100 takes blocks of 16 and keeps two bits. F. A. Khattak and M. Mikaitis
// found these numbers by comparing models with real cards bit by bit ("Accurate Models of NVIDIA Tensor Cores", arXiv 2512.07004).
#pragma once
#include <cstdint>

namespace espalier::cuda::emulator {

enum class TensorCore { kA100, kH100 };

// The tensor core that kernels use from now on, on every thread. The default is an A100's, which cuts off more.
TensorCore& tensor_core();

inline constexpr int kTileRows = 16, kTileColumns = 8, kTileDepth = 16;  // what one instruction multiplies

// Sixteen values of bf16: a part of a row of one factor or of a column of the other.
struct Factors {
  float values[kTileDepth];
  int16_t exponents[kTileDepth];

  void set_exponents();
};

// Returns sum + a[0] b[0] + ... + a[15] b[15].
float add_products(TensorCore core, float sum, const Factors& a, const Factors& b);

// Adds the products to all sums of a tile, a row at a time.
void add_tile(TensorCore core, float (&sums)[kTileRows][kTileColumns], const Factors (&rows)[kTileRows],
              const Factors (&columns)[kTileColumns]);

}  // namespace espalier::cuda::emulator

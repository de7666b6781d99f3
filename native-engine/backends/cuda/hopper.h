// Whether products are computed by the kernel for Hopper cards (kernels/products/product_hopper.cu).
#pragma once
#include <cstdint>

#include "runtime.h"

namespace espalier::cuda::ESPALIER_TARGET {

// ESPALIER_HOPPER_PRODUCTS=on asks for the kernel. It is off otherwise, as long as no card has shown that it computes right and is quicker
// than cuBLASLt. It needs a card of compute capability 9.0 and a driver that makes tile maps.
bool takes_hopper_products(const Card& card);

// Returns the multiprocessors of the card where it takes such products, and otherwise 0.
int multiprocessors_for_hopper_products(int card);

// Products of at least these rows and columns are computed by it; smaller ones are not worth a tile of 128 x 256. Tests lower the numbers.
struct HopperLimits {
  int32_t rows = 256, cols = 128;
};
HopperLimits& hopper_limits();

}  // namespace espalier::cuda::ESPALIER_TARGET

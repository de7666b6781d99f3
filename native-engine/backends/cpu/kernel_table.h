// The table of kernels of each instruction set, and the choice among the tables.
#pragma once
#include <string>
#include <vector>

#include "device/ops.h"
#include "host_address.h"

namespace espalier::cpu {

// The most rows that a product multiplies by a group of panels at a time.
inline constexpr int64_t kMostBlockRows = 64;

// A product of at most this number of rows is limited by the bytes of its stored matrix, so nothing is packed.
inline constexpr int64_t kFewRows = 16;

// Threads that compute the same columns of a product, each for rows of its own. Each packs a share of the panels, and all use them.
struct Team {
  int64_t index = 0, size = 1;
  void (*wait)(void* barrier) = nullptr;  // returns when all threads of the team have called it
  void* barrier = nullptr;
  int64_t room = 0;    // the size of one group's panels in words
  int64_t groups = 0;  // the number of groups packed so far
};

struct Kernels {
  const char* name;
#define KERNEL(result, name, parameters) result(*name) parameters
#define WORDS_KERNEL KERNEL
#define PRODUCT_KERNEL KERNEL
#include "kernel_list.h"
};

const Kernels& kernels_portable();
const Kernels& kernels_neon();  // the narrowest of aarch64, where it takes the place of the portable ones
const Kernels& kernels_avx2();
const Kernels& kernels_avx512();
const Kernels& kernels_avx512_bf16();
const Kernels& kernels_avx512_amx();  // the kernels of avx512_bf16, with products by matrix tiles
// Returns the widest set that this processor can run. ESPALIER_CPU_ISA chooses a narrower one ("portable", "avx2", "avx512",
// "avx512_bf16", "avx512_amx"; on aarch64 "neon" alone).
const Kernels& select_kernels();
const Kernels& kernels_named(const std::string& name);
std::vector<const Kernels*> available_kernels();  // all sets that this processor can run, the narrowest first

}  // namespace espalier::cpu

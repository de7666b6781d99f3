// This file is compiled once for each instruction set, whose namespace ESPALIER_ISA names.
#include "attention/attention.h"
#include "attention/attention_backward.h"
#include "attention/attention_operands.h"
#include "attention/cached_attention.h"
#include "attention/head_norm.h"
#include "attention/path_attention.h"
#include "parameters/dropout.h"
#include "parameters/lora.h"
#include "parameters/optimizer.h"
#include "parameters/weight_gradient.h"
#include "products/few_rows.h"
#include "products/product.h"
#include "rows/losses.h"
#include "rows/rmsnorm.h"
#include "rows/swiglu.h"
#include "selection.h"

#define ESPALIER_TEXT_(x) #x
#define ESPALIER_TEXT(x) ESPALIER_TEXT_(x)
#define ESPALIER_JOIN_(a, b) a##b
#define ESPALIER_JOIN(a, b) ESPALIER_JOIN_(a, b)

namespace espalier::cpu {

template <class Words, class Products>
static Kernels table_of(const char* name) {
  using namespace ESPALIER_ISA;
  Kernels table{};
  table.name = name;
#define KERNEL(result, name, parameters) table.name = name
#define WORDS_KERNEL(result, name, parameters) table.name = name<Words>
#define PRODUCT_KERNEL(result, name, parameters) table.name = name<Products>
#include "kernel_list.h"
  return table;
}

const Kernels& ESPALIER_JOIN(kernels_, ESPALIER_ISA)() {
  static const Kernels table = table_of<ESPALIER_ISA::PairWords, ESPALIER_ISA::PairProducts>(ESPALIER_TEXT(ESPALIER_ISA));
  return table;
}

#if defined(__AVX512BF16__)
const Kernels& kernels_avx512_amx() {
  static const Kernels table = table_of<ESPALIER_ISA::TileWords, ESPALIER_ISA::MatrixTiles>("avx512_amx");
  return table;
}
#endif

}  // namespace espalier::cpu

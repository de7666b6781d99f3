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

const Kernels& ESPALIER_JOIN(kernels_, ESPALIER_ISA)() {
  using namespace ESPALIER_ISA;
  static const Kernels table = {
      ESPALIER_TEXT(ESPALIER_ISA),
      select_rows,
      embed,
      rmsnorm,
      rmsnorm_backward,
      attention_scratch_bytes,
      attention_operands,
      attention<PairWords>,
      path_attention<PairWords>,
      attention_backward<PairWords>,
      head_norm_backward,
      cached_attention,
      swiglu,
      swiglu_backward,
      layer_loss,
      token_loss,
      lora_dropout,
      transpose,
      column_dot,
      embed_gradient,
      add_loss_gradient,
      pair_size,
      pack_factor,
      narrow_product,
      transpose_narrow,
      outer_product,
      adamw,
      square_sum,
      finish_product,
      few_rows_fit,
      few_rows,
      product_fits,
      product_panel_bytes<PairProducts>,
      product<PairProducts>,
      project_heads<PairProducts>,
  };
  return table;
}

#if defined(__AVX512BF16__)
const Kernels& kernels_avx512_amx() {
  using namespace ESPALIER_ISA;
  static const Kernels table = [] {
    Kernels k = kernels_avx512_bf16();
    k.name = "avx512_amx";
    k.attention = attention<TileWords>;
    k.path_attention = path_attention<TileWords>;
    k.attention_backward = attention_backward<TileWords>;
    k.product_panel_bytes = product_panel_bytes<MatrixTiles>;
    k.product = product<MatrixTiles>;
    k.project_heads = project_heads<MatrixTiles>;
    return k;
  }();
  return table;
}
#endif

}  // namespace espalier::cpu

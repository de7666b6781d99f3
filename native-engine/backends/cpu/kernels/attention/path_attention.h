// Attention of sequences that continue the rows of other sequences, one piece at a time.
#pragma once
#include "attention/attention.h"

namespace espalier::cpu::ESPALIER_ISA {

// Computes the queries of one piece. Its keys are packed once for all heads that read them.
template <class Pairs>
static void path_attention(const PathAttention& path, int64_t piece, int64_t kv_head, void* scratch) {
  with_compute_type(path.operands.dtype, [&](auto type) {
    using T = decltype(type);
    using Words = std::conditional_t<std::is_same_v<T, bf16>, Pairs, F32Words>;
    const Attention op{path.shape, path.operands, path.out, nullptr, path.column_scale};
    const AttentionShape& s = op.shape;
    const int32_t* bounds = host(path.bounds) + 4 * piece;
    const int64_t first = bounds[0], rows = bounds[1], before = bounds[3];
    const int32_t* earlier = before > 0 ? host(path.path) + bounds[2] : nullptr;
    const auto row_of = [&](int64_t t) { return t < before ? static_cast<int64_t>(earlier[t]) : first + t - before; };
    Carver carver{static_cast<char*>(scratch)};
    AttentionScratch<Words> w(carver, before + rows, s.head_dim);
    pack_keys<T>(op.operands, row_of, HeadColumns{s}.key(kv_head), w, w.key_t, nullptr);
    pack_keys<T>(op.operands, row_of, HeadColumns{s}.value(kv_head), w, nullptr, w.value);
    for (int64_t head = 0; head < s.heads; head++)
      if (host(s.kv_of_head)[head] == kv_head)
        for (int64_t i = 0; i < rows; i += kBlock)
          attention_block<T>(op, head, {first + i, before + i, rows - i < kBlock ? rows - i : kBlock}, w);
    if (kv_head == 0) clear_padding<T>(op, first, rows);
  });
}

}  // namespace espalier::cpu::ESPALIER_ISA

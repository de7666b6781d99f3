// The memory in which a thread computes attention, a block of queries at a time.
#pragma once
#include "tile.h"

namespace espalier::cpu::ESPALIER_ISA {

inline constexpr int64_t kBlock = 32;  // the queries of a block; they make 16 words of pairs, so a transposed block is one vector wide

// Takes aligned arrays from a thread's scratch memory; where base is null, it only counts the bytes.
struct Carver {
  char* base;
  uint64_t used = 0;
  template <class T>
  T* take(int64_t count) {
    T* p = base ? reinterpret_cast<T*>(base + used) : nullptr;
    used += (static_cast<uint64_t>(count) * sizeof(T) + 63) / 64 * 64;
    return p;
  }
};

template <class Words>
struct AttentionScratch {
  typename Words::Registers registers;
  int64_t tokens, padded_tokens, dim, padded_dim, dim_words, key_words, block_words;
  uint32_t *key_t, *value, *value_t, *key, *rows;     // packed keys and values; rows: [padded_tokens, dim_words], to be transposed
  float *row0, *row1;                                 // two rows of a head, unpacked
  uint32_t *query, *dout, *query_pairs, *dout_pairs;  // one block each
  float *scores, *dprob, *block_out;                  // [kBlock, padded_tokens] twice, [kBlock, padded_dim]
  uint32_t *prob_words, *pairs, *prob_t, *dscore_t;
  float *dkey, *dvalue, *query_rows, *dout_rows;  // dkey, dvalue: [padded_tokens, padded_dim] sums; the others: unpacked rows of a block

  AttentionScratch(Carver& c, int64_t t, int64_t d) {
    constexpr int p = Words::kPair;
    tokens = t;
    dim = d;
    padded_tokens = (t + kBlock - 1) / kBlock * kBlock;
    padded_dim = (d + 15) / 16 * 16;
    dim_words = (d + p - 1) / p;
    key_words = padded_tokens / p;
    block_words = kBlock / p;
    key_t = c.take<uint32_t>(dim_words * padded_tokens);
    value_t = c.take<uint32_t>(dim_words * padded_tokens);
    value = c.take<uint32_t>(key_words * padded_dim);
    key = c.take<uint32_t>(key_words * padded_dim);
    rows = c.take<uint32_t>(padded_tokens * dim_words);
    row0 = c.take<float>(padded_dim);
    row1 = c.take<float>(padded_dim);
    query = c.take<uint32_t>(kBlock * dim_words);
    dout = c.take<uint32_t>(kBlock * dim_words);
    query_pairs = c.take<uint32_t>(block_words * padded_dim);
    dout_pairs = c.take<uint32_t>(block_words * padded_dim);
    scores = c.take<float>(kBlock * padded_tokens);
    dprob = c.take<float>(kBlock * padded_tokens);
    block_out = c.take<float>(kBlock * padded_dim);
    prob_words = c.take<uint32_t>(kBlock * key_words);
    pairs = c.take<uint32_t>(block_words * padded_tokens);
    prob_t = c.take<uint32_t>(padded_tokens * block_words);
    dscore_t = c.take<uint32_t>(padded_tokens * block_words);
    dkey = c.take<float>(padded_tokens * padded_dim);
    dvalue = c.take<float>(padded_tokens * padded_dim);
    query_rows = c.take<float>(kBlock * padded_dim);
    dout_rows = c.take<float>(kBlock * padded_dim);
  }
};

}  // namespace espalier::cpu::ESPALIER_ISA

// Gradients of attention, a block of queries at a time. Probabilities are computed again from the saved log-sum-exp.
#pragma once
#include "attention/attention.h"

namespace espalier::cpu::ESPALIER_ISA {

// Packs the dout rows of one block.
template <class T, class Words>
static void pack_dout(const AttentionBackward& op, int64_t batch_row, int64_t head, int64_t first, int64_t count,
                      AttentionScratch<Words>& w) {
  for (int64_t i = 0; i < count; i++) {
    float* row = w.dout_rows + i * w.padded_dim;
    read_head(row_ptr<T>(op.dout, batch_row * op.shape.tokens + first + i) + head * w.dim, w.dim, row);
    for (int64_t j = 0; op.dout_scale && j < w.dim; j++) row[j] *= host(op.dout_scale)[head * w.dim + j];
    pack_row<Words>(row, w.dim, w.dout + i * w.dim_words);
  }
}

// Fills a block's unpacked rows up with zeros and packs them in pairs of queries.
template <class Words>
static void pack_block_pairs(float* rows, int64_t count, AttentionScratch<Words>& w, uint32_t* pairs) {
  for (int64_t i = 0; i < kBlock; i++)
    for (int64_t j = i < count ? w.dim : 0; j < w.padded_dim; j++) rows[i * w.padded_dim + j] = 0;
  for (int64_t i = 0; i < kBlock; i += Words::kPair)
    pack_rows<Words>(rows + i * w.padded_dim, rows + (i + 1) * w.padded_dim, w.padded_dim, pairs + i / Words::kPair * w.padded_dim);
}

// Takes the gradients of a query's capped scores back through the cap, and packs them again.
template <class Words>
[[gnu::noinline]] static void uncap_gradients(float* dscores, const float* slopes, int64_t keys, uint32_t* words) {
  for (int64_t j = 0; j < keys; j += 2 * W) {
    const vf first = load(dscores + j) * load(slopes + j), second = load(dscores + j + W) * load(slopes + j + W);
    store(dscores + j, first);
    store(dscores + j + W, second);
    Words::store_two(words + j / Words::kPair, first, second);
  }
}

// Overwrites the scores with probabilities, and dprob with the gradients of the scores; rows beyond `count` become zero. Returns the sum
// over the queries of dout . out, computed as sum_j p_j dprob_j: with the rounded output, the gradients of a query's scores would not add
// up to 0.
template <class Words>
static double score_gradients(const AttentionBackward& op, int64_t batch_row, int64_t head, int64_t first, int64_t count, KeyRange range,
                              AttentionScratch<Words>& w) {
  const int64_t keys = range.end - range.begin;
  const float* lse = host(op.lse) + head * op.operands.rows + batch_row * op.shape.tokens + first;
  // One row; the memory is free until the block is transposed.
  float* slopes = op.shape.score_cap > 0 ? reinterpret_cast<float*>(w.pairs) : nullptr;
  double total = 0;
  for (int64_t i = 0; i < kBlock; i++) {
    float* scores = w.scores + i * keys;
    float* dprob = w.dprob + i * keys;
    if (i >= count) {
      std::memset(scores, 0, keys * 4);
      std::memset(dprob, 0, keys * 4);
      continue;
    }
    if (slopes) cap_scores(scores, keys, score_cap(op.shape), slopes);
    hide_keys(scores, op.shape, first + i, range);
    vf dots = {}, masses = {};
    for (int64_t j = 0; j < keys; j += W) {
      const vf p = exp2v(load(scores + j) - lse[i]);
      dots += p * load(dprob + j);
      masses += p;
      store(scores + j, p);
    }
    const float delta = sum_lanes(dots) / sum_lanes(masses);
    total += delta;
    const auto gradient = [&](int64_t j) {
      const vf ds = load(scores + j) * (load(dprob + j) - delta);
      store(dprob + j, ds);
      return ds;
    };
    for (int64_t j = 0; j < keys; j += 2 * W) {
      const vf first_part = gradient(j), second_part = gradient(j + W);
      Words::store_two(w.prob_words + (i * keys + j) / Words::kPair, first_part, second_part);
    }
    if (slopes) uncap_gradients<Words>(dprob, slopes, keys, w.prob_words + i * keys / Words::kPair);
  }
  return total;
}

// Packs a [kBlock, keys] matrix as [keys, block_words] words, which hold values along the queries.
template <class Words>
static void transpose_block_rows(const float* rows, int64_t keys, AttentionScratch<Words>& w, uint32_t* to) {
  for (int64_t i = 0; i < kBlock; i += Words::kPair)
    pack_rows<Words>(rows + i * keys, rows + (i + 1) * keys, keys, w.pairs + i / Words::kPair * keys);
  transpose_words(w.pairs, w.block_words, keys, keys, to, w.block_words);
}

// Rotates a head back by the position's angles, unless cos is nullptr, and scales it.
static inline void turn_back(float* x, const float* cos, const float* sin, int64_t dim, float scale) {
  if (!cos) {
    for (int64_t j = 0; j < dim; j++) x[j] *= scale;
    return;
  }
  const int64_t half = dim / 2;
  int64_t j = 0;
  for (; j + W <= half; j += W) {
    const vf a = load(x + j), b = load(x + half + j), c = load(cos + j) * scale, s = load(sin + j) * scale;
    store(x + j, a * c + b * s);
    store(x + half + j, b * c - a * s);
  }
  for (; j < half; j++) {
    const float a = x[j], b = x[half + j], c = cos[j] * scale, s = sin[j] * scale;
    x[j] = a * c + b * s;
    x[half + j] = b * c - a * s;
  }
}

// Carries a gradient back through scale and rotary embedding and writes it.
template <class T>
static void write_gradient(T* to, float* row, const AttentionShape& s, int64_t position, float scale, bool rotated) {
  const int64_t at = position * (s.head_dim / 2);
  const bool turned = static_cast<bool>(s.rope_cos);
  if (rotated) turn_back(row, turned ? host(s.rope_cos) + at : nullptr, turned ? host(s.rope_sin) + at : nullptr, s.head_dim, scale);
  int64_t j = 0;
  for (; j + W <= s.head_dim; j += W) store(to + j, load(row + j));
  if (j < s.head_dim) store_part(to + j, load_part(row + j, s.head_dim - j), s.head_dim - j);
}

template <class T, class Words>
static double attention_backward_block(const AttentionBackward& op, int64_t batch_row, int64_t head, int64_t first,
                                       AttentionScratch<Words>& w) {
  const AttentionShape& s = op.shape;
  const int64_t count = s.tokens - first < kBlock ? s.tokens - first : kBlock;
  const KeyRange range = visible_keys(s, first, w.padded_tokens);
  const int64_t keys = range.end - range.begin, dim = w.padded_dim;
  pack_queries<T>(s, op.operands, head, batch_row * s.tokens + first, count, w, w.query_rows);
  pack_dout<T>(op, batch_row, head, first, count, w);
  pack_block_pairs(w.query_rows, count, w, w.query_pairs);
  pack_block_pairs(w.dout_rows, count, w, w.dout_pairs);
  tile_product<Words>(w.registers, count, keys, w.dim_words, w.query, w.dim_words, w.key_t + range.begin, w.padded_tokens, w.scores, keys,
                      false);
  tile_product<Words>(w.registers, count, keys, w.dim_words, w.dout, w.dim_words, w.value_t + range.begin, w.padded_tokens, w.dprob, keys,
                      false);
  const double total = score_gradients(op, batch_row, head, first, count, range, w);
  transpose_block_rows(w.scores, keys, w, w.prob_t);
  transpose_block_rows(w.dprob, keys, w, w.dscore_t);
  // These products come in the order in which their operands were made: it is quicker than computing each product right after its operands.
  const int64_t words = keys / Words::kPair;
  tile_product<Words>(w.registers, count, dim, words, w.prob_words, words, w.key + range.begin / Words::kPair * dim, dim, w.block_out, dim,
                      false);
  tile_product<Words>(w.registers, keys, dim, w.block_words, w.prob_t, w.block_words, w.dout_pairs, dim, w.dvalue + range.begin * dim, dim,
                      true);
  tile_product<Words>(w.registers, keys, dim, w.block_words, w.dscore_t, w.block_words, w.query_pairs, dim, w.dkey + range.begin * dim, dim,
                      true);
  for (int64_t i = 0; i < count; i++) {
    T* to = row_ptr<T>(op.dqkv, batch_row * s.tokens + first + i) + HeadColumns{s}.query(head);
    write_gradient(to, w.block_out + i * dim, s, first + i, score_scale(s) * kLn2, true);
  }
  return total;
}

// head_dot [heads]: gets this row's share for each head that reads kv_head.
template <class Pairs>
static void attention_backward(const AttentionBackward& op, int64_t batch_row, int64_t kv_head, void* scratch, double* head_dot) {
  with_compute_type(op.operands.dtype, [&](auto type) {
    using T = decltype(type);
    using Words = std::conditional_t<std::is_same_v<T, bf16>, Pairs, F32Words>;
    const AttentionShape& s = op.shape;
    const HeadColumns columns{s};
    Carver carver{static_cast<char*>(scratch)};
    AttentionScratch<Words> w(carver, s.tokens, s.head_dim);
    pack_keys<T>(s, op.operands, batch_row, columns.key(kv_head), w, w.key_t, w.key);
    pack_keys<T>(s, op.operands, batch_row, columns.value(kv_head), w, w.value_t, nullptr);
    std::memset(w.dkey, 0, w.padded_tokens * w.padded_dim * 4);
    std::memset(w.dvalue, 0, w.padded_tokens * w.padded_dim * 4);
    for (int64_t head = 0; head < s.heads; head++) {
      if (host(s.kv_of_head)[head] != kv_head) continue;
      head_dot[head] = 0;
      for (int64_t first = 0; first < s.tokens; first += kBlock) {
        fetch_next_head<T>(s, op.operands, batch_row, head, first);
        if (head + 1 < s.heads) fetch_columns<T>(s, op.dout, batch_row, first, (head + 1) * s.head_dim);
        head_dot[head] += attention_backward_block<T>(op, batch_row, head, first, w);
      }
    }
    for (int64_t t = 0; t < s.tokens; t++) {
      T* row = row_ptr<T>(op.dqkv, batch_row * s.tokens + t);
      write_gradient(row + columns.key(kv_head), w.dkey + t * w.padded_dim, s, t, kLn2, true);
      write_gradient(row + columns.value(kv_head), w.dvalue + t * w.padded_dim, s, t, 1.0f, false);
      if (kv_head != 0) continue;
      for (int64_t j = s.heads * s.head_dim; j < s.query_width; j++) row[j] = T{};
      for (int64_t j = s.kv_heads * s.head_dim; j < s.kv_width; j++) row[columns.key(0) + j] = row[columns.value(0) + j] = T{};
    }
  });
}

}  // namespace espalier::cpu::ESPALIER_ISA

// Attention of all query heads that read one key/value head of one row of the batch, a block of queries at a time. Scores are kept for one
// block only.
#pragma once
#include "attention/attention_scratch.h"

namespace espalier::cpu::ESPALIER_ISA {

// Reads one head's part of one token's row and widens it to f32.
template <class T>
static inline void read_head(const T* from, int64_t dim, float* to) {
  int64_t j = 0;
  for (; j + W <= dim; j += W) store(to + j, load(from + j));
  for (; j < dim; j++) to[j] = to_float(from[j]);
}

static inline float score_scale(const AttentionShape& s) {
  return s.score_scale > 0 ? kLog2e * s.score_scale : kLog2e / __builtin_sqrtf(static_cast<float>(s.head_dim));
}

// The cap of scores as base-2 logarithms.
static inline float score_cap(const AttentionShape& s) { return kLog2e * s.score_cap; }

// Caps a row of scores, of whole vectors. `slopes` gets the derivatives, unless it is nullptr.
[[gnu::noinline]] static void cap_scores(float* scores, int64_t keys, float cap, float* slopes) {
  for (int64_t j = 0; j < keys; j += W) {
    const vf capped = soft_cap(load(scores + j), cap);
    store(scores + j, capped);
    if (slopes) store(slopes + j, soft_cap_slope(capped, cap));
  }
}

// The columns at which a head begins in qkv.
struct HeadColumns {
  const AttentionShape& s;
  int64_t query(int64_t head) const { return head * s.head_dim; }
  int64_t key(int64_t kv) const { return s.query_width + kv * s.head_dim; }
  int64_t value(int64_t kv) const { return s.query_width + s.kv_width + kv * s.head_dim; }
  const float* bias(int64_t column) const { return s.bias ? host(s.bias) + column : nullptr; }
};

// Adds a bias to a head, scales it, and rotates it by the position's angles unless cos is nullptr. Value j is paired with value j + dim /
// 2.
template <class T>
static inline void head_operand(const float* from, const float* bias, const float* cos, const float* sin, int64_t dim, float scale, T* to) {
  const int64_t half = dim / 2;
  const auto turn = [&](auto read, int64_t j, vf& low, vf& high) {
    low = read(from + j);
    high = read(from + half + j);
    if (bias) {
      low += read(bias + j);
      high += read(bias + half + j);
    }
    const vf a = low * scale, b = high * scale;
    if (!cos) {
      low = a;
      high = b;
      return;
    }
    const vf c = read(cos + j), s = read(sin + j);
    low = a * c - b * s;
    high = b * c + a * s;
  };
  vf low, high;
  int64_t j = 0;
  for (; j + W <= half; j += W) {
    turn([](const float* p) { return load(p); }, j, low, high);
    store(to + j, low);
    store(to + half + j, high);
  }
  if (j == half) return;
  turn([&](const float* p) { return load_part(p, half - j); }, j, low, high);
  store_part(to + j, low, half - j);
  store_part(to + half + j, high, half - j);
}

// Packs two tokens' keys or values straight from memory into words: rows of words that are transposed later, and pairs of tokens.
template <class T, class Words>
static inline void pack_two_tokens(const T* first, const T* second, int64_t token, AttentionScratch<Words>& w, bool transposed,
                                   uint32_t* pairs) {
  for (int64_t j = 0; j < w.dim; j += W) {
    const vf x = load(first + j), y = load(second + j);
    if (transposed) {
      uint32_t* row = w.rows + token * w.dim_words;
      Words::store_row(row + j / Words::kPair, x);
      Words::store_row(row + w.dim_words + j / Words::kPair, y);
    }
    if (!pairs) continue;
    if constexpr (Words::kPair == 2) {
      const vu words = pair_words(x, y);
      std::memcpy(pairs + token / 2 * w.padded_dim + j, &words, sizeof words);
    } else {
      float* row = reinterpret_cast<float*>(pairs) + token * w.padded_dim;
      store(row + j, x);
      store(row + w.padded_dim + j, y);
    }
  }
}

// Packs the keys or values of one key/value head: `transposed` [dim_words, padded_tokens], `pairs` [key_words, padded_dim]. row_of(t) is
// the row of token t.
template <class T, class Words, class RowOf>
static void pack_keys(const Tensor& operands, RowOf&& row_of, int64_t column, AttentionScratch<Words>& w, uint32_t* transposed,
                      uint32_t* pairs) {
  const auto head = [&](int64_t t) { return row_ptr<T>(operands, row_of(t)) + column; };
  int64_t t = 0;
  if (w.dim % W == 0)
    for (; t + 2 <= w.tokens; t += 2) pack_two_tokens<T>(head(t), head(t + 1), t, w, transposed != nullptr, pairs);
  float* row[2] = {w.row0, w.row1};
  for (int64_t j = w.dim; j < w.padded_dim; j++) row[0][j] = row[1][j] = 0;
  for (; t < w.padded_tokens; t += Words::kPair) {
    for (int r = 0; r < Words::kPair; r++) {
      if (t + r < w.tokens)
        read_head(head(t + r), w.dim, row[r]);
      else
        std::memset(row[r], 0, w.dim * 4);
      if (transposed) pack_row<Words>(row[r], w.dim, w.rows + (t + r) * w.dim_words);
    }
    if (pairs) pack_rows<Words>(row[0], row[1], w.padded_dim, pairs + t / Words::kPair * w.padded_dim);
  }
  if (transposed) transpose_words(w.rows, w.padded_tokens, w.dim_words, w.dim_words, transposed, w.padded_tokens);
}

template <class T, class Words>
static void pack_keys(const AttentionShape& s, const Tensor& operands, int64_t batch_row, int64_t column, AttentionScratch<Words>& w,
                      uint32_t* transposed, uint32_t* pairs) {
  pack_keys<T>(operands, [&](int64_t t) { return batch_row * s.tokens + t; }, column, w, transposed, pairs);
}

// The keys that a block of queries from token `first` on may see: [begin, end). Both numbers are multiples of 32.
struct KeyRange {
  int64_t begin, end;
};
static inline KeyRange visible_keys(const AttentionShape& s, int64_t first, int64_t padded_tokens) {
  const int64_t last = (first + kBlock + kBlock - 1) / kBlock * kBlock, end = last < padded_tokens ? last : padded_tokens;
  const int64_t oldest = s.window > 0 ? first - s.window + 1 : 0;
  return {oldest > 0 ? oldest / kBlock * kBlock : 0, end};
}

// Packs the query rows of one block, from row `first` of the operands on.
template <class T, class Words>
static void pack_queries(const AttentionShape& s, const Tensor& operands, int64_t head, int64_t first, int64_t count,
                         AttentionScratch<Words>& w, float* rows) {
  for (int64_t i = 0; i < count; i++) {
    float* row = rows + i * w.padded_dim;
    read_head(row_ptr<T>(operands, first + i) + HeadColumns{s}.query(head), w.dim, row);
    pack_row<Words>(row, w.dim, w.query + i * w.dim_words);
  }
}

struct WordRows {
  const uint32_t* first;
  int64_t stride;
};

// Returns the query rows of one block as words. Rows of whole pairs of bf16 are words already; others are packed.
template <class T, class Words>
static WordRows query_words(const AttentionShape& s, const Tensor& operands, int64_t head, int64_t first, int64_t count,
                            AttentionScratch<Words>& w) {
  if constexpr (std::is_same_v<T, bf16> && Words::kPair == 2)
    if (w.dim % 2 == 0 && operands.stride % 2 == 0 && operands.data.address() % 4 == 0)
      return {reinterpret_cast<const uint32_t*>(row_ptr<T>(operands, first) + HeadColumns{s}.query(head)), operands.stride / 2};
  pack_queries<T>(s, operands, head, first, count, w, w.query_rows);
  return {w.query, w.dim_words};
}

// Prefetches one head's columns for a block of tokens.
template <class T>
static inline void fetch_columns(const AttentionShape& s, const Tensor& from, int64_t batch_row, int64_t first, int64_t column) {
  const int64_t last = first + kBlock < s.tokens ? first + kBlock : s.tokens;
  for (int64_t t = first; t < last; t++) {
    const T* row = row_ptr<T>(from, batch_row * s.tokens + t) + column;
    for (int64_t j = 0; j < s.head_dim; j += 64 / sizeof(T)) __builtin_prefetch(row + j, 0, 2);
  }
}

// Prefetches a block of the next head. Its rows lie pages apart, so the processor would not prefetch them by itself.
template <class T>
static inline void fetch_next_head(const AttentionShape& s, const Tensor& operands, int64_t batch_row, int64_t head, int64_t first) {
  if (head + 1 == s.heads) return;
  const HeadColumns columns{s};
  const int32_t* kv_of_head = host(s.kv_of_head);
  const int64_t kv = kv_of_head[head + 1];
  fetch_columns<T>(s, operands, batch_row, first, columns.query(head + 1));
  if (kv == kv_of_head[head]) return;
  fetch_columns<T>(s, operands, batch_row, first, columns.key(kv));
  fetch_columns<T>(s, operands, batch_row, first, columns.value(kv));
}

// Sets the scores of the keys in `range` that the query may not see to -inf.
static inline void hide_keys(float* scores, const AttentionShape& s, int64_t query, KeyRange range) {
  // Whole vectors are written, beyond the end of the range too, since the next passes read whole vectors.
  const vf hidden = splat(-__builtin_inff());
  const int32_t newest = static_cast<int32_t>(query - range.begin), keys = static_cast<int32_t>(range.end - range.begin);
  for (int32_t j = newest / W * W; j < keys; j += W) store(scores + j, lane_index() + j > newest ? hidden : load(scores + j));
  const int32_t oldest = s.window > 0 ? static_cast<int32_t>(query - s.window + 1 - range.begin) : 0;
  for (int32_t j = 0; j < oldest; j += W) store(scores + j, lane_index() + j < oldest ? hidden : load(scores + j));
}

// A block of `count` queries: the row of its first query, and that query's token within its sequence.
struct QueryBlock {
  int64_t row, token, count;
};

template <class T, class Words>
static void attention_block(const Attention& op, int64_t head, const QueryBlock& block, AttentionScratch<Words>& w) {
  const AttentionShape& s = op.shape;
  const int64_t count = block.count;
  const KeyRange range = visible_keys(s, block.token, w.padded_tokens);
  const int64_t keys = range.end - range.begin;
  const WordRows queries = query_words<T>(s, op.operands, head, block.row, count, w);
  tile_product<Words>(w.registers, count, keys, w.dim_words, queries.first, queries.stride, w.key_t + range.begin, w.padded_tokens,
                      w.scores, keys, false);
  float inverse_sums[kBlock];
  for (int64_t i = 0; i < count; i++) {
    float* row = w.scores + i * keys;
    if (s.score_cap > 0) cap_scores(row, keys, score_cap(s), nullptr);
    hide_keys(row, s, block.token + i, range);
    vf top = load(row);
    for (int64_t j = W; j < keys; j += W) top = vmax(load(row + j), top);
    const float max = max_lanes(top);
    vf sums = {};
    for (int64_t j = 0; j < keys; j += 2 * W) {
      const vf first = exp2v(load(row + j) - max), second = exp2v(load(row + j + W) - max);
      sums += first;
      sums += second;
      Words::store_two(w.prob_words + (i * keys + j) / Words::kPair, first, second);
    }
    const float sum = sum_lanes(sums);
    inverse_sums[i] = (op.column_scale ? host(op.column_scale)[head * w.dim] : 1.0f) / sum;
    if (op.lse) host(op.lse)[head * op.operands.rows + block.row + i] = max + __builtin_log2f(sum);
  }
  const int64_t words = keys / Words::kPair;
  tile_product<Words>(w.registers, count, w.padded_dim, words, w.prob_words, words, w.value + range.begin / Words::kPair * w.padded_dim,
                      w.padded_dim, w.block_out, w.padded_dim, false);
  for (int64_t i = 0; i < count; i++) {
    T* out = row_ptr<T>(op.out, block.row + i) + head * w.dim;
    const float* sums = w.block_out + i * w.padded_dim;
    int64_t j = 0;
    for (; j + W <= w.dim; j += W) store(out + j, load(sums + j) * inverse_sums[i]);
    if (j < w.dim) store_part(out + j, load(sums + j) * inverse_sums[i], w.dim - j);
  }
}

// Fills the columns after the last head with zeros.
template <class T>
static void clear_padding(const Attention& op, int64_t first, int64_t rows) {
  for (int64_t n = first; n < first + rows; n++) {
    T* out = row_ptr<T>(op.out, n);
    for (int64_t j = op.shape.heads * op.shape.head_dim; j < op.out.cols; j++) out[j] = T{};
  }
}

template <class Pairs>
static void attention(const Attention& op, int64_t batch_row, int64_t kv_head, void* scratch) {
  with_compute_type(op.operands.dtype, [&](auto type) {
    using T = decltype(type);
    using Words = std::conditional_t<std::is_same_v<T, bf16>, Pairs, F32Words>;
    const AttentionShape& s = op.shape;
    Carver carver{static_cast<char*>(scratch)};
    AttentionScratch<Words> w(carver, s.tokens, s.head_dim);
    pack_keys<T>(s, op.operands, batch_row, HeadColumns{s}.key(kv_head), w, w.key_t, nullptr);
    pack_keys<T>(s, op.operands, batch_row, HeadColumns{s}.value(kv_head), w, nullptr, w.value);
    for (int64_t head = 0; head < s.heads; head++)
      if (host(s.kv_of_head)[head] == kv_head)
        for (int64_t first = 0; first < s.tokens; first += kBlock) {
          fetch_next_head<T>(s, op.operands, batch_row, head, first);
          const int64_t left = s.tokens - first;
          attention_block<T>(op, head, {batch_row * s.tokens + first, first, left < kBlock ? left : kBlock}, w);
        }
    if (kv_head == 0) clear_padding<T>(op, batch_row * s.tokens, s.tokens);
  });
}

static uint64_t attention_scratch_bytes(int64_t tokens, int64_t head_dim) {
  Carver counter{nullptr};
  AttentionScratch<F32Words> largest(counter, tokens, head_dim);
  return counter.used;
}

}  // namespace espalier::cpu::ESPALIER_ISA

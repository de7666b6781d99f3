// Attention of all query heads that read one key/value head of one row of the batch, a block of queries at a time.
// Scores exist for one block only. Rotary embedding, scale and biases are applied while operands are packed.
#pragma once
#include "tile.h"

namespace espalier::cpu::ESPALIER_ISA {

inline constexpr int64_t kBlock = 32;  // queries; 16 words of pairs, so a transposed block is one vector wide

// Carves aligned arrays out of a thread's scratch, or only counts when base is null.
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
  int64_t tokens, padded_tokens, dim, padded_dim, dim_words, key_words, block_words;
  uint32_t *key_t, *value, *value_t, *key, *rows;   // packed keys and values; rows: [padded_tokens, dim_words] for transposing
  float *row0, *row1;                               // two unpacked rows of a head
  uint32_t *query, *dout, *query_pairs, *dout_pairs;  // one block
  float *scores, *dprob, *block_out;                // [kBlock, padded_tokens] twice, [kBlock, padded_dim]
  uint32_t *prob_words, *pairs, *prob_t, *dscore_t;
  float *dkey, *dvalue, *query_rows, *dout_rows;    // [padded_tokens, padded_dim] sums; unpacked rows of a block

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

// One head's slice of one token, widened, with its bias.
template <class T>
static inline void read_head(const T* from, const float* bias, int64_t dim, float* to) {
  int64_t j = 0;
  for (; j + W <= dim; j += W) store(to + j, load(from + j) + (bias ? load(bias + j) : vf{}));
  for (; j < dim; j++) to[j] = to_float(from[j]) + (bias ? bias[j] : 0.0f);
}

// Halves are paired: j with j + dim / 2. direction -1 turns back.
static inline void rotate(float* x, const float* cos, const float* sin, int64_t dim, float scale, float direction) {
  const int64_t half = dim / 2;
  int64_t j = 0;
  for (; j + W <= half; j += W) {
    const vf a = load(x + j), b = load(x + half + j), c = load(cos + j) * scale, s = load(sin + j) * (scale * direction);
    store(x + j, a * c - b * s);
    store(x + half + j, b * c + a * s);
  }
  for (; j < half; j++) {
    const float a = x[j], b = x[half + j], c = cos[j] * scale, s = sin[j] * (scale * direction);
    x[j] = a * c - b * s;
    x[half + j] = b * c + a * s;
  }
}

static inline float score_scale(int64_t dim) { return kLog2e / __builtin_sqrtf(static_cast<float>(dim)); }

// Where a head's columns begin in qkv.
struct HeadColumns {
  const AttentionShape& s;
  int64_t query(int64_t head) const { return head * s.head_dim; }
  int64_t key(int64_t kv) const { return s.query_width + kv * s.head_dim; }
  int64_t value(int64_t kv) const { return s.query_width + s.kv_width + kv * s.head_dim; }
  const float* bias(int64_t column) const { return s.bias ? s.bias + column : nullptr; }
};

// Half a head and its other half at [j, j + W), with bias, turned by the position's angles; whole vectors only.
struct HalfPair {
  vf low, high;
};
template <class T>
static inline HalfPair rotated_part(const T* from, const float* bias, const float* cos, const float* sin, int64_t half, int64_t j) {
  vf a = load(from + j), b = load(from + half + j);
  if (bias) {
    a += load(bias + j);
    b += load(bias + half + j);
  }
  if (!cos) return {a, b};
  const vf c = load(cos + j), s = load(sin + j);
  return {a * c - b * s, b * c + a * s};
}

// Two tokens' keys or values straight from memory to words: rows of words for transposing, and pairs of tokens.
template <class T, class Words>
static inline void pack_two_tokens(const T* first, const T* second, const float* bias, const AttentionShape& s, int64_t token, bool rotated,
                                   AttentionScratch<Words>& w, bool transposed, uint32_t* pairs) {
  const int64_t half = w.dim / 2;
  const float* cos = rotated ? s.rope_cos + token * half : nullptr;
  const float* sin = rotated ? s.rope_sin + token * half : nullptr;
  for (int64_t j = 0; j < half; j += W) {
    const HalfPair x = rotated_part(first, bias, cos, sin, half, j);
    const HalfPair y = rotated_part(second, bias, rotated ? cos + half : nullptr, rotated ? sin + half : nullptr, half, j);
    if (transposed) {
      uint32_t* row = w.rows + token * w.dim_words;
      Words::store_row(row + j / Words::kPair, x.low);
      Words::store_row(row + (half + j) / Words::kPair, x.high);
      Words::store_row(row + w.dim_words + j / Words::kPair, y.low);
      Words::store_row(row + w.dim_words + (half + j) / Words::kPair, y.high);
    }
    if (!pairs) continue;
    if constexpr (Words::kPair == 2) {
      const vu low = pair_words(x.low, y.low), high = pair_words(x.high, y.high);
      std::memcpy(pairs + token / 2 * w.padded_dim + j, &low, sizeof low);
      std::memcpy(pairs + token / 2 * w.padded_dim + half + j, &high, sizeof high);
    } else {
      float* row = reinterpret_cast<float*>(pairs) + token * w.padded_dim;
      store(row + j, x.low);
      store(row + half + j, x.high);
      store(row + w.padded_dim + j, y.low);
      store(row + w.padded_dim + half + j, y.high);
    }
  }
}

// Keys (rotated) or values of one key/value head: `transposed` [dim_words, padded_tokens], `pairs` [key_words, padded_dim].
template <class T, class Words>
static void pack_keys(const AttentionShape& s, const Tensor& qkv, int64_t batch_row, int64_t column, bool rotated,
                      AttentionScratch<Words>& w, uint32_t* transposed, uint32_t* pairs) {
  const float* bias = HeadColumns{s}.bias(column);
  const auto head = [&](int64_t t) { return row_ptr<T>(qkv, batch_row * s.tokens + t) + column; };
  int64_t t = 0;
  if (w.dim % (2 * W) == 0)
    for (; t + 2 <= w.tokens; t += 2) pack_two_tokens<T>(head(t), head(t + 1), bias, s, t, rotated, w, transposed != nullptr, pairs);
  float* row[2] = {w.row0, w.row1};
  for (int64_t j = w.dim; j < w.padded_dim; j++) row[0][j] = row[1][j] = 0;
  for (; t < w.padded_tokens; t += Words::kPair) {
    for (int r = 0; r < Words::kPair; r++) {
      if (t + r < w.tokens) {
        read_head(head(t + r), bias, w.dim, row[r]);
        const int64_t at = (t + r) * (w.dim / 2);
        if (rotated) rotate(row[r], s.rope_cos + at, s.rope_sin + at, w.dim, 1.0f, 1.0f);
      } else {
        std::memset(row[r], 0, w.dim * 4);
      }
      if (transposed) pack_row<Words>(row[r], w.dim, w.rows + (t + r) * w.dim_words);
    }
    if (pairs) pack_rows<Words>(row[0], row[1], w.padded_dim, pairs + t / Words::kPair * w.padded_dim);
  }
  if (transposed) transpose_words(w.rows, w.padded_tokens, w.dim_words, w.dim_words, transposed, w.padded_tokens);
}

// The keys that the queries [first, first + count) may see: [begin, end), both multiples of 32.
struct KeyRange {
  int64_t begin, end;
};
static inline KeyRange visible_keys(const AttentionShape& s, int64_t first, int64_t padded_tokens) {
  const int64_t end = first + kBlock < padded_tokens ? first + kBlock : padded_tokens;
  const int64_t oldest = s.window > 0 ? first - s.window + 1 : 0;
  return {oldest > 0 ? oldest / kBlock * kBlock : 0, end};
}

// Query rows of one block, rotated and scaled so that scores are base-2 logarithms.
template <class T, class Words>
static void pack_queries(const AttentionShape& s, const Tensor& qkv, int64_t batch_row, int64_t head, int64_t first, int64_t count,
                         AttentionScratch<Words>& w, float* rows) {
  const int64_t column = HeadColumns{s}.query(head), half = w.dim / 2;
  const vf scale = splat(score_scale(w.dim));
  for (int64_t i = 0; i < count; i++) {
    float* row = rows + i * w.padded_dim;
    if (w.dim % (2 * W) == 0) {
      const T* from = row_ptr<T>(qkv, batch_row * s.tokens + first + i) + column;
      const float *cos = s.rope_cos + (first + i) * half, *sin = s.rope_sin + (first + i) * half;
      for (int64_t j = 0; j < half; j += W) {
        HalfPair x = rotated_part(from, HeadColumns{s}.bias(column), cos, sin, half, j);
        x = {x.low * scale, x.high * scale};
        Words::store_row(w.query + i * w.dim_words + j / Words::kPair, x.low);
        Words::store_row(w.query + i * w.dim_words + (half + j) / Words::kPair, x.high);
        store(row + j, x.low);
        store(row + half + j, x.high);
      }
      continue;
    }
    read_head(row_ptr<T>(qkv, batch_row * s.tokens + first + i) + column, HeadColumns{s}.bias(column), w.dim, row);
    const int64_t at = (first + i) * (w.dim / 2);
    rotate(row, s.rope_cos + at, s.rope_sin + at, w.dim, score_scale(w.dim), 1.0f);
    pack_row<Words>(row, w.dim, w.query + i * w.dim_words);
  }
}

// -inf at the keys of `range` that the query may not see.
static inline void hide_keys(float* scores, const AttentionShape& s, int64_t query, KeyRange range) {
  // Whole vectors, which the passes that follow read again.
  const vf hidden = splat(-__builtin_inff());
  const int32_t newest = static_cast<int32_t>(query - range.begin), keys = static_cast<int32_t>(range.end - range.begin);
  for (int32_t j = newest / W * W; j < keys; j += W) store(scores + j, lane_index() + j > newest ? hidden : load(scores + j));
  const int32_t oldest = s.window > 0 ? static_cast<int32_t>(query - s.window + 1 - range.begin) : 0;
  for (int32_t j = 0; j < oldest; j += W) store(scores + j, lane_index() + j < oldest ? hidden : load(scores + j));
}

template <class T, class Words>
static void attention_block(const Attention& op, int64_t batch_row, int64_t head, int64_t first, AttentionScratch<Words>& w) {
  const AttentionShape& s = op.shape;
  const int64_t count = s.tokens - first < kBlock ? s.tokens - first : kBlock;
  const KeyRange range = visible_keys(s, first, w.padded_tokens);
  const int64_t keys = range.end - range.begin;
  pack_queries<T>(s, op.qkv, batch_row, head, first, count, w, w.query_rows);
  tile_product<Words>(count, keys, w.dim_words, w.query, w.dim_words, w.key_t + range.begin, w.padded_tokens, w.scores, keys, false);
  float inverse_sums[kBlock];
  for (int64_t i = 0; i < count; i++) {
    float* row = w.scores + i * keys;
    hide_keys(row, s, first + i, range);
    vf top = load(row);
    for (int64_t j = W; j < keys; j += W) top = vmax(load(row + j), top);
    const float max = max_lanes(top);
    vf sums = {};
    for (int64_t j = 0; j < keys; j += W) {
      const vf e = exp2v(load(row + j) - max);
      sums += e;
      Words::store_row(w.prob_words + (i * keys + j) / Words::kPair, e);
    }
    const float sum = sum_lanes(sums);
    inverse_sums[i] = 1.0f / sum;
    if (op.lse) op.lse[head * op.qkv.rows + batch_row * s.tokens + first + i] = max + __builtin_log2f(sum);
  }
  const int64_t words = keys / Words::kPair;
  tile_product<Words>(count, w.padded_dim, words, w.prob_words, words, w.value + range.begin / Words::kPair * w.padded_dim,
                      w.padded_dim, w.block_out, w.padded_dim, false);
  for (int64_t i = 0; i < count; i++) {
    T* out = row_ptr<T>(op.out, batch_row * s.tokens + first + i) + head * w.dim;
    const float* sums = w.block_out + i * w.padded_dim;
    int64_t j = 0;
    for (; j + W <= w.dim; j += W) store(out + j, load(sums + j) * inverse_sums[i]);
    if (j < w.dim) store_part(out + j, load(sums + j) * inverse_sums[i], w.dim - j);
  }
}

static void attention(const Attention& op, int64_t batch_row, int64_t kv_head, void* scratch) {
  with_compute_type(op.qkv.dtype, [&](auto type) {
    using T = decltype(type);
    using Words = typename WordsOf<T>::type;
    const AttentionShape& s = op.shape;
    Carver carver{static_cast<char*>(scratch)};
    AttentionScratch<Words> w(carver, s.tokens, s.head_dim);
    pack_keys<T>(s, op.qkv, batch_row, HeadColumns{s}.key(kv_head), true, w, w.key_t, nullptr);
    pack_keys<T>(s, op.qkv, batch_row, HeadColumns{s}.value(kv_head), false, w, nullptr, w.value);
    for (int64_t head = 0; head < s.heads; head++)
      if (s.kv_of_head[head] == kv_head)
        for (int64_t first = 0; first < s.tokens; first += kBlock) attention_block<T>(op, batch_row, head, first, w);
    if (kv_head == 0)
      for (int64_t t = 0; t < s.tokens; t++) {
        T* out = row_ptr<T>(op.out, batch_row * s.tokens + t);
        for (int64_t j = s.heads * s.head_dim; j < op.out.cols; j++) out[j] = T{};
      }
  });
}

static uint64_t attention_scratch_bytes(int64_t tokens, int64_t head_dim) {
  Carver counter{nullptr};
  AttentionScratch<F32Words> largest(counter, tokens, head_dim);
  return counter.used;
}

}  // namespace espalier::cpu::ESPALIER_ISA

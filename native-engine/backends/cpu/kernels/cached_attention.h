// Attention of one query over keys and values that lie in a cache, a row a token.
#pragma once
#include "attention.h"

namespace espalier::cpu::ESPALIER_ISA {

template <class T>
static inline float dot(const T* a, const T* b, int64_t size) {
  vf sum = {};
  int64_t j = 0;
  for (; j + W <= size; j += W) sum += load(a + j) * load(b + j);
  if (j < size) sum += load_part(a + j, size - j) * load_part(b + j, size - j);
  return sum_lanes(sum);
}

// f(index of the token among those that are seen, its row of the cache), from the oldest on.
template <class F>
static inline void for_seen_rows(const CachedAttention& op, int64_t sequence, int64_t oldest, int64_t count, F&& f) {
  const int64_t first = sequence * op.capacity;
  int64_t place = oldest % op.capacity;
  for (int64_t i = 0; i < count; i++) {
    f(i, first + place);
    if (++place == op.capacity) place = 0;
  }
}

// out[j] = sum of weights times values, kVectors vectors of them at a time.
template <class T, int kVectors>
static inline void weigh_values(const CachedAttention& op, int64_t sequence, int64_t oldest, int64_t count, int64_t column,
                                const float* weights, float scale, T* out) {
  vf sums[kVectors] = {};
  for_seen_rows(op, sequence, oldest, count, [&](int64_t i, int64_t row) {
    const T* value = row_ptr<T>(op.cache, row) + column;
    const vf weight = splat(weights[i]);
    for (int v = 0; v < kVectors; v++) sums[v] += weight * load(value + v * W);
  });
  for (int v = 0; v < kVectors; v++) store(out + v * W, sums[v] * scale);
}

template <class T>
static void attend_cached(const CachedAttention& op, int64_t n, int64_t head, int64_t kv_head, int64_t oldest, int64_t count,
                          float* scores) {
  const AttentionShape& s = op.shape;
  const int64_t dim = s.head_dim, sequence = host(op.sequences)[n], key = kv_head * dim, value = s.kv_width + kv_head * dim;
  const T* query = row_ptr<T>(op.operands, n) + HeadColumns{s}.query(head);
  float max = -__builtin_inff();
  for_seen_rows(op, sequence, oldest, count, [&](int64_t i, int64_t row) {
    scores[i] = dot(query, row_ptr<T>(op.cache, row) + key, dim);
    max = scores[i] > max ? scores[i] : max;
  });
  vf sums = {};
  int64_t i = 0;
  for (; i + W <= count; i += W) {
    const vf e = exp2v(load(scores + i) - max);
    sums += e;
    store(scores + i, e);
  }
  float sum = sum_lanes(sums);
  if (i < count) {
    store_part(scores + i, exp2v(load_part(scores + i, count - i) - max), count - i);
    for (; i < count; i++) sum += scores[i];
  }
  const float scale = (op.column_scale ? host(op.column_scale)[head * dim] : 1.0f) / sum;
  T* out = row_ptr<T>(op.out, n) + head * dim;
  int64_t j = 0;
  for (; j + 4 * W <= dim; j += 4 * W) weigh_values<T, 4>(op, sequence, oldest, count, value + j, scores, scale, out + j);
  for (; j + W <= dim; j += W) weigh_values<T, 1>(op, sequence, oldest, count, value + j, scores, scale, out + j);
  if (j == dim) return;
  vf last = {};
  for_seen_rows(op, sequence, oldest, count,
                [&](int64_t at, int64_t row) { last += splat(scores[at]) * load_part(row_ptr<T>(op.cache, row) + value + j, dim - j); });
  store_part(out + j, last * scale, dim - j);
}

// The heads of the new token in row n that read one key/value head.
static void cached_attention(const CachedAttention& op, int64_t n, int64_t kv_head, float* scores) {
  with_compute_type(op.operands.dtype, [&](auto type) {
    using T = decltype(type);
    const AttentionShape& s = op.shape;
    const HeadColumns columns{s};
    const int64_t position = host(op.positions)[n], dim = s.head_dim;
    const T* from = row_ptr<T>(op.operands, n);
    T* row = row_ptr<T>(op.cache, host(op.sequences)[n] * op.capacity + position % op.capacity);
    std::memcpy(row + kv_head * dim, from + columns.key(kv_head), dim * sizeof(T));
    std::memcpy(row + s.kv_width + kv_head * dim, from + columns.value(kv_head), dim * sizeof(T));
    const int64_t most = s.window > 0 && s.window < op.capacity ? s.window : op.capacity;
    const int64_t oldest = position + 1 > most ? position + 1 - most : 0;
    for (int64_t head = 0; head < s.heads; head++)
      if (host(s.kv_of_head)[head] == kv_head) attend_cached<T>(op, n, head, kv_head, oldest, position + 1 - oldest, scores);
    if (kv_head > 0) return;
    T* out = row_ptr<T>(op.out, n);
    for (int64_t j = s.heads * dim; j < op.out.cols; j++) out[j] = T{};
  });
}

}  // namespace espalier::cpu::ESPALIER_ISA

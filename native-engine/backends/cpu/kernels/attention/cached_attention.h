// Attention of one query over cached keys and values. The cache has one row for each token, and the rows of a head are contiguous.
#pragma once
#include "attention/attention.h"

namespace espalier::cpu::ESPALIER_ISA {

template <class T>
static inline float dot(const T* a, const T* b, int64_t size) {
  vf sum = {};
  int64_t j = 0;
  for (; j + W <= size; j += W) sum += load(a + j) * load(b + j);
  if (j < size) sum += load_part(a + j, size - j) * load_part(b + j, size - j);
  return sum_lanes(sum);
}

// The tokens that a query sees: `count` tokens from the oldest one on. Each has a place among the rows of a head.
struct SeenTokens {
  int64_t oldest, count, capacity;

  // Calls f(index, place) for each token.
  template <class F>
  void for_each(F&& f) const {
    int64_t place = oldest % capacity;
    for (int64_t i = 0; i < count; i++) {
      f(i, place);
      if (++place == capacity) place = 0;
    }
  }
};

// out[j] = the sum of weights times values, kVectors vectors of columns at a time.
template <class T, int kVectors>
static inline void weigh_values(const SeenTokens& seen, const T* values, int64_t stride, const float* weights, float scale, T* out) {
  vf sums[kVectors] = {};
  seen.for_each([&](int64_t i, int64_t place) {
    const T* value = values + place * stride;
    const vf weight = splat(weights[i]);
    for (int v = 0; v < kVectors; v++) sums[v] += weight * load(value + v * W);
  });
  for (int v = 0; v < kVectors; v++) store(out + v * W, sums[v] * scale);
}

template <class T>
static void attend_cached(const CachedAttention& op, int64_t n, int64_t head, const SeenTokens& seen, const T* keys, const T* values,
                          float* scores) {
  const int64_t dim = op.shape.head_dim, count = seen.count, stride = op.cache.stride;
  const T* query = row_ptr<T>(op.operands, n) + HeadColumns{op.shape}.query(head);
  float max = -__builtin_inff();
  const float cap = score_cap(op.shape);
  seen.for_each([&](int64_t i, int64_t place) {
    scores[i] = dot(query, keys + place * stride, dim);
    if (cap > 0) scores[i] = soft_cap(splat(scores[i]), cap)[0];
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
  for (; j + 4 * W <= dim; j += 4 * W) weigh_values<T, 4>(seen, values + j, stride, scores, scale, out + j);
  for (; j + W <= dim; j += W) weigh_values<T, 1>(seen, values + j, stride, scores, scale, out + j);
  if (j == dim) return;
  vf last = {};
  seen.for_each([&](int64_t at, int64_t place) { last += splat(scores[at]) * load_part(values + place * stride + j, dim - j); });
  store_part(out + j, last * scale, dim - j);
}

// Computes the heads of the new token in row n that read one key/value head.
static void cached_attention(const CachedAttention& op, int64_t n, int64_t kv_head, float* scores) {
  with_compute_type(op.operands.dtype, [&](auto type) {
    using T = decltype(type);
    const AttentionShape& s = op.shape;
    const HeadColumns columns{s};
    const int64_t position = host(op.positions)[n], dim = s.head_dim;
    const T* from = row_ptr<T>(op.operands, n);
    T* keys = row_ptr<T>(op.cache, CachedAttention::first_row(host(op.sequences)[n], kv_head, s.kv_heads, op.capacity));
    T* values = keys + op.capacity * op.cache.stride;
    const int64_t own = position % op.capacity * op.cache.stride;
    std::memcpy(keys + own, from + columns.key(kv_head), dim * sizeof(T));
    std::memcpy(values + own, from + columns.value(kv_head), dim * sizeof(T));
    const int64_t most = s.window > 0 && s.window < op.capacity ? s.window : op.capacity;
    const int64_t oldest = position + 1 > most ? position + 1 - most : 0;
    const SeenTokens seen{oldest, position + 1 - oldest, op.capacity};
    for (int64_t head = 0; head < s.heads; head++)
      if (host(s.kv_of_head)[head] == kv_head) attend_cached<T>(op, n, head, seen, keys, values, scores);
    if (kv_head > 0) return;
    T* out = row_ptr<T>(op.out, n);
    for (int64_t j = s.heads * dim; j < op.out.cols; j++) out[j] = T{};
  });
}

}  // namespace espalier::cpu::ESPALIER_ISA

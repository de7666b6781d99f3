// The ops of attention: what is made of its operands, forward, backward, and from a cache. The conventions are those of ops.h.
#pragma once
#include "device/products.h"

namespace espalier {

struct AttentionShape {
  int64_t batch = 0, tokens = 0;
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  int64_t query_width = 0, kv_width = 0;  // columns of the query, key and value parts: heads * head_dim and more, padded
  int64_t window = 0;                     // 0: full causal attention
  DevicePtr<const int32_t> kv_of_head;    // [heads]
  DevicePtr<const float> rope_cos;        // [tokens, head_dim / 2]; nullptr with rope_sin: nothing is turned
  DevicePtr<const float> rope_sin;
  DevicePtr<const float> bias;  // [query_width + 2 kv_width], added to qkv; nullptr: none
  float score_scale = 0;        // of a query's product with a key; 0: 1 / sqrt(head_dim)

  int64_t width() const { return query_width + 2 * kv_width; }
};

// An RMS norm of each query head and each key head, or of all queries together and all keys together: x * rstd * weight, rstd =
// 1 / sqrt(sum(x^2) / size + eps), where size is that of what is normed.
struct HeadNorms {
  DevicePtr<const float> query, key;  // weights, as many as are normed together; nullptr: there are no norms
  float eps = 0;
  bool whole = false;  // all heads together
  explicit operator bool() const { return static_cast<bool>(query); }

  int64_t query_norms(const AttentionShape& s) const { return whole ? 1 : s.heads; }
  int64_t key_norms(const AttentionShape& s) const { return whole ? 1 : s.kv_heads; }
  int64_t query_size(const AttentionShape& s) const { return whole ? s.heads * s.head_dim : s.head_dim; }
  int64_t key_size(const AttentionShape& s) const { return whole ? s.kv_heads * s.head_dim : s.head_dim; }
};

// Makes the operands of attention and rounds them once: products plus bias, or normed; rotated, queries scaled so that scores are base-2
// logarithms.
struct AttentionOperands {
  AttentionShape shape;             // without bias where there are norms
  std::array<Product, 3> products;  // queries, keys, values, transposed; their c are not used
  Tensor space;                     // f32, as large as operands
  Tensor operands;                  // compute dtype [N, query_width + 2 kv_width]; padding columns are left alone
  HeadNorms norms;
  Tensor normed;          // x * rstd in compute dtype [N, query_width + kv_width], padding columns left alone; empty: not wanted
  DevicePtr<float> rstd;  // [N, query norms + key norms]; wanted with normed
};

struct Attention {
  AttentionShape shape;
  Tensor operands;
  Tensor out;                           // compute dtype [N, query_width]
  DevicePtr<float> lse;                 // [heads, N], base 2; nullptr: not wanted
  DevicePtr<const float> column_scale;  // [query_width], of out, the same for all columns of a head; nullptr: ones
};

// Attention of sequences of any length in one tensor, where one may go on from a row of another. A piece is a run of rows that are new; its
// path are the rows before it in its sequence, oldest first. A query sees its piece's path and the piece up to itself. The shape has one
// row of the batch, whose tokens are all rows: angles are those of each row's position.
struct PathAttention {
  AttentionShape shape;
  Tensor operands;
  Tensor out;                           // compute dtype [N, query_width]
  DevicePtr<const float> column_scale;  // as in Attention
  int64_t pieces = 0;
  int64_t longest = 0;              // most rows of a path and its piece
  DevicePtr<const int32_t> bounds;  // [pieces, 4]: the piece's first row, its rows, where its path begins in `path`, rows of the path
  DevicePtr<const int32_t> path;    // rows; nullptr where no piece has a path
  int64_t path_size = 0;
};

// dqkv may lie where operands do.
struct AttentionBackward {
  AttentionShape shape;
  Tensor operands, dout;
  DevicePtr<const float> lse;
  Tensor dqkv;                 // padding columns are set to 0
  DevicePtr<double> head_dot;  // [heads], sum_n dout[n, head] . out[n, head], from the probabilities
};

// From the gradients by normed queries and keys, as AttentionBackward makes them, those by what was normed. In place; values are left
// alone.
struct HeadNormBackward {
  AttentionShape shape;
  HeadNorms norms;
  Tensor normed;  // as AttentionOperands made them
  DevicePtr<const float> rstd;
  Tensor dqkv;  // of the dtype of normed [N, query_width + 2 kv_width]
};

// Attention of one new token of each of N sequences (shape.tokens, in a batch of 1) over that token and those before it, whose keys and
// values lie in a cache. A key/value head of a sequence has `capacity` rows of keys there from `first_row` on, then as many of values, so
// a head reads its own from one place to the next. The token at position p has row p % capacity of these. The new tokens' keys and values
// are written there first. At most `capacity` tokens are seen.
struct CachedAttention {
  AttentionShape shape;
  Tensor operands;                     // as AttentionOperands makes them
  Tensor cache;                        // compute dtype [sequences * kv_heads * 2 * capacity, head_dim]
  DevicePtr<const int32_t> sequences;  // [N], each another one
  DevicePtr<const int32_t> positions;  // [N]
  int64_t capacity = 0;
  Tensor out;                           // as Attention's
  DevicePtr<const float> column_scale;  // as Attention's

  static int64_t first_row(int64_t sequence, int64_t kv_head, int64_t kv_heads, int64_t capacity) {
    return (sequence * kv_heads + kv_head) * 2 * capacity;
  }
};

}  // namespace espalier

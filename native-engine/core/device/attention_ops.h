// The ops of attention: they make its operands, compute it forward, backward, and from a cache. The conventions are those of ops.h.
#pragma once
#include "device/products.h"

namespace espalier {

struct AttentionShape {
  int64_t batch = 0, tokens = 0;
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  int64_t query_width = 0, kv_width = 0;  // columns of the query, key and value parts: at least heads * head_dim, padded
  int64_t window = 0;                     // 0 stands for full causal attention
  DevicePtr<const int32_t> kv_of_head;    // [heads]
  DevicePtr<const float> rope_cos;        // [tokens, head_dim / 2]; where it and rope_sin are nullptr, nothing is rotated
  DevicePtr<const float> rope_sin;
  DevicePtr<const float> bias;  // [query_width + 2 kv_width], added to qkv; nullptr where there is none
  float score_scale = 0;        // factor of a query's product with a key; 0 stands for 1 / sqrt(head_dim)
  float score_cap = 0;          // scores become score_cap * tanh(score / score_cap); 0 stands for no cap

  int64_t width() const { return query_width + 2 * kv_width; }
};

// An RMS norm of each query head and each key head, or one of all queries together and one of all keys together: x * rstd * weight, where
// rstd = 1 / sqrt(sum(x^2) / size + eps) and size is the number of values that are normed together.
struct HeadNorms {
  DevicePtr<const float> query, key;  // weights for the values that are normed together; nullptr where there are no norms
  float eps = 0;
  bool whole = false;  // true where all heads are normed together
  explicit operator bool() const { return static_cast<bool>(query); }

  int64_t query_norms(const AttentionShape& s) const { return whole ? 1 : s.heads; }
  int64_t key_norms(const AttentionShape& s) const { return whole ? 1 : s.kv_heads; }
  int64_t query_size(const AttentionShape& s) const { return whole ? s.heads * s.head_dim : s.head_dim; }
  int64_t key_size(const AttentionShape& s) const { return whole ? s.kv_heads * s.head_dim : s.head_dim; }
};

// Makes the operands of attention: products plus bias, or products that are normed, then rotated. Queries are scaled so that scores are
// base-2 logarithms. The operands are rounded once.
struct AttentionOperands {
  AttentionShape shape;             // has no bias where there are norms
  std::array<Product, 3> products;  // the products of queries, keys and values, all transposed; their c is not used
  Tensor space;                     // f32 memory as large as operands
  Tensor operands;                  // compute dtype [N, query_width + 2 kv_width]; padding columns stay unchanged
  HeadNorms norms;
  // X * rstd in compute dtype [N, query_width + kv_width]; padding columns stay unchanged; empty where it is not wanted.
  Tensor normed;
  DevicePtr<float> rstd;  // [N, query norms + key norms]; needed with normed
};

struct Attention {
  AttentionShape shape;
  Tensor operands;
  Tensor out;                           // compute dtype [N, query_width]
  DevicePtr<float> lse;                 // [heads, N], base 2; nullptr where it is not wanted
  DevicePtr<const float> column_scale;  // [query_width], factors of out, equal for all columns of a head; nullptr stands for ones
};

// Attention of sequences of any length in one tensor, where a sequence may continue the rows of another. A piece is a run of new rows, and
// its path lists the rows before it in its sequence, oldest first. A query sees its piece's path, and the piece up to itself. The shape has
// a batch of one row whose tokens are all rows, so the angles are given for each row's position.
struct PathAttention {
  AttentionShape shape;
  Tensor operands;
  Tensor out;                           // compute dtype [N, query_width]
  DevicePtr<const float> column_scale;  // the same as in Attention
  int64_t pieces = 0;
  int64_t longest = 0;  // the most rows that a path and its piece have together
  // [pieces, 4]: the piece's first row, its number of rows, where its path begins in `path`, the path's number of rows.
  DevicePtr<const int32_t> bounds;
  DevicePtr<const int32_t> path;  // row numbers; nullptr where no piece has a path
  int64_t path_size = 0;
};

// Computes the gradients of Attention. dqkv may lie where operands do.
struct AttentionBackward {
  AttentionShape shape;
  Tensor operands, dout;
  DevicePtr<const float> lse;
  Tensor dqkv;                 // padding columns become 0
  DevicePtr<double> head_dot;  // [heads], sum_n dout[n, head] . out[n, head], computed from the probabilities
  // [query_width], factors of dout before anything else, equal for all columns of a head; nullptr stands for ones.
  DevicePtr<const float> dout_scale;
};

// Turns the gradients by normed queries and keys, which AttentionBackward makes, into gradients by the values before the norm, in place.
// The gradients by values (v) stay unchanged.
struct HeadNormBackward {
  AttentionShape shape;
  HeadNorms norms;
  Tensor normed;  // from AttentionOperands
  DevicePtr<const float> rstd;
  Tensor dqkv;  // [N, query_width + 2 kv_width], of the dtype of normed
};

// Attention of one new token of each of N sequences (shape.tokens, in a batch of 1) over this token and those before it, whose keys and
// values lie in a cache. There a key/value head of a sequence has `capacity` rows of keys from its first row on, and then as many rows of
// values, so a head reads its rows without a gap. The token at position p has row p % capacity of these. The op writes the new tokens' keys
// and values into the cache first. A token sees at most `capacity` tokens.
struct CachedAttention {
  AttentionShape shape;
  Tensor operands;                     // from AttentionOperands
  Tensor cache;                        // compute dtype [sequences * kv_heads * 2 * capacity, head_dim]
  DevicePtr<const int32_t> sequences;  // [N], all different
  DevicePtr<const int32_t> positions;  // [N], the position of each new token
  int64_t capacity = 0;
  Tensor out;                           // the same as in Attention
  DevicePtr<const float> column_scale;  // the same as in Attention

  static int64_t first_row(int64_t sequence, int64_t kv_head, int64_t kv_heads, int64_t capacity) {
    return (sequence * kv_heads + kv_head) * 2 * capacity;
  }
};

}  // namespace espalier

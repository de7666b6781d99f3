// A role (teacher or student) of the one base model: its masks, and the units that they leave open in each layer. compile_role uploads it.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "device/memory.h"
#include "espalier/model_masks.h"

namespace espalier {

// A norm's weights for the open hidden units, with what the model adds to the stored ones. Empty: there is no such norm.
struct OpenNorm {
  std::vector<float> weight;   // [hidden_width], never 0 but in padding
  std::vector<float> inverse;  // 1 / weight, 0 in padding
};

// Index lists are padded with -1 to a multiple of kWidthMultiple, scale lists with 0.
struct RoleLayer {
  int64_t heads = 0, kv_heads = 0, units = 0;                 // open ones
  int64_t head_width = 0, kv_width = 0, unit_width = 0;       // padded columns
  bool heads_all = false, kv_all = false, units_all = false;  // all open and no padding
  std::vector<int32_t> head_index;                            // open query heads
  std::vector<int32_t> kv_of_head;                            // for each of them, which of the kept key/value heads it reads
  std::vector<int32_t> q_rows;                                // [head_width] rows of q_proj, columns of o_proj
  std::vector<int32_t> kv_rows;                               // [kv_width] rows of k_proj and v_proj
  std::vector<float> head_scale;                              // [head_width] head mask; empty: all ones
  std::vector<int32_t> unit_index;                            // [unit_width]
  std::vector<float> unit_scale;                              // [unit_width] unit mask; empty: all ones
  OpenNorm attention_norm, mlp_norm;                          // of what they read
  OpenNorm post_attention_norm, post_mlp_norm;                // of what they add to the residual stream
  std::vector<float> qkv_bias;                                // [head_width + 2 kv_width]; empty: none
  std::vector<float> query_norm, key_norm;                    // [head_dim], or for whole norms [head_width], [kv_width]; empty: none

  int64_t qkv_width() const { return head_width + 2 * kv_width; }
};

struct Role {
  Masks z;
  int64_t hidden_open = 0;
  int64_t hidden_width = 0;           // padded open hidden units
  bool hidden_all = false;            // every hidden unit open and no padding
  bool hidden_ones = false;           // no open unit's mask below 1
  std::vector<int32_t> hidden_index;  // [hidden_width]
  std::vector<float> hidden_scale;    // [hidden_width]
  // [hidden_width] hidden_scale times the model's multipliers of embeddings and of what is added to the residual stream; empty: that is 1.
  std::vector<float> embedding_scale, addend_scale;
  std::vector<float> final_norm;        // [hidden_width], divided as logits are
  std::vector<float> final_norm_scale;  // [hidden_width] by what its weights are multiplied for that; empty: by 1
  std::vector<RoleLayer> layers;
};

// A weight of a norm as the model computes with it.
float norm_weight(const ModelConfig& config, const WeightView& stored, int64_t index);

// `exact_sparse` false keeps closed parts in the products, scaled by 0.
Role make_role(const ModelWeights& model, const Masks& z, bool exact_sparse);

// Norms, biases and norms of heads of a student with own weights, in place of the model's. vectors: what lies in the layout from
// vectors_begin() to the masks. The role's masks are those that the layout was made for.
void take_own_vectors(const ModelConfig& config, const StateLayout& layout, std::span<const float> vectors, Role& role);

// The role of a state under its deterministic masks.
Role role_of_state(const ModelWeights& model, const TrainState& state);

// The model as it is, whatever its layers' widths.
Role make_intact_role(const ModelWeights& model);

// For each column of `student` the column of `teacher` with the same hidden unit, or -1; empty: column by column the same.
std::vector<int32_t> match_hidden(const Role& student, const Role& teacher);

}  // namespace espalier

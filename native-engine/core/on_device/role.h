// A role (teacher or student) of the one base model: its masks, and the units that they leave open in each layer. compile_role uploads it.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "device/memory.h"
#include "espalier/method/model_masks.h"

namespace espalier {

// A norm's weights for the open hidden units, including the model's offset. Empty where there is no such norm.
struct OpenNorm {
  std::vector<float> weight;   // [hidden_width], 0 only in padding
  std::vector<float> inverse;  // 1 / weight, 0 in padding
};

// A layer's part of a role. Index lists are padded with -1 to a multiple of kWidthMultiple, scale lists with 0.
struct RoleLayer {
  int64_t heads = 0, kv_heads = 0, units = 0;                 // the numbers of open ones
  int64_t head_width = 0, kv_width = 0, unit_width = 0;       // the columns with padding
  bool heads_all = false, kv_all = false, units_all = false;  // whether all are open and there is no padding
  std::vector<int32_t> head_index;                            // the open query heads
  std::vector<int32_t> kv_of_head;                            // for each of them, the number of the kept key/value head that it reads
  std::vector<int32_t> q_rows;                                // [head_width], rows of q_proj and columns of o_proj
  std::vector<int32_t> kv_rows;                               // [kv_width], rows of k_proj and v_proj
  std::vector<float> head_scale;                              // [head_width], the head mask; empty where all are 1
  std::vector<int32_t> unit_index;                            // [unit_width]
  std::vector<float> unit_scale;                              // [unit_width], the unit mask; empty where all are 1
  OpenNorm attention_norm, mlp_norm;                          // norms of what attention and MLP read
  OpenNorm post_attention_norm, post_mlp_norm;                // norms of what they add to the residual stream
  std::vector<float> qkv_bias;                                // [head_width + 2 kv_width]; empty where there is none
  // [head_dim], or for whole norms [head_width] and [kv_width]; empty where there are none.
  std::vector<float> query_norm, key_norm;

  int64_t qkv_width() const { return head_width + 2 * kv_width; }
};

struct Role {
  Masks z;
  int64_t hidden_open = 0;
  int64_t hidden_width = 0;           // the open hidden units with padding
  bool hidden_all = false;            // whether every hidden unit is open and there is no padding
  bool hidden_ones = false;           // whether no open unit has a mask below 1
  std::vector<int32_t> hidden_index;  // [hidden_width]
  std::vector<float> hidden_scale;    // [hidden_width]
  // Both are [hidden_width]: hidden_scale times the model's multiplier of embeddings, and hidden_scale times its multiplier of what blocks
  // add to the residual stream. Each is empty where it equals hidden_scale.
  std::vector<float> embedding_scale, addend_scale;
  bool scaled_when_read = false;        // see scale_when_read
  std::vector<float> final_norm;        // [hidden_width], includes the divisor of logits
  std::vector<float> final_norm_scale;  // [hidden_width], the factor by which final_norm includes it; empty where it is 1
  std::vector<RoleLayer> layers;
};

// Returns a weight of a norm as the model computes with it, which includes the model's offset.
float norm_weight(const ModelConfig& config, const WeightView& stored, int64_t index);

// Makes a role. Without `exact_sparse`, closed parts stay in the products, scaled by 0. The open hidden units and units are padded to a
// multiple of `width_multiple`, but not beyond the width of the intact model.
Role make_role(const ModelWeights& model, const Masks& z, bool exact_sparse, int64_t width_multiple = kWidthMultiple);

// Leaves addend_scale out of the residual stream: results of blocks are added unscaled, and readers of the stream multiply by addend_scale.
// The stream stays the same, since each unit has one factor in all layers. A model with norms behind its blocks scales the results of these
// norms, so its role stays as it is.
void scale_when_read(const ModelConfig& config, Role& role);

// Puts the norms, biases and norms of heads of a student with own weights in place of the model's. vectors: the part of the layout from
// vectors_begin() to the masks. The role's masks must be those that the layout was made for.
void take_own_vectors(const ModelConfig& config, const StateLayout& layout, std::span<const float> vectors, Role& role);

// Makes the role of a state under its deterministic masks.
Role role_of_state(const ModelWeights& model, const TrainState& state);

// Makes the role of the model as it is, whatever widths its layers have.
Role make_intact_role(const ModelWeights& model);

// Returns for each column of `student` the column of `teacher` with the same hidden unit, or -1; empty where all columns are the same.
std::vector<int32_t> match_hidden(const Role& student, const Role& teacher);

}  // namespace espalier

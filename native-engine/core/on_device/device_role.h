// A role as ops take it: its lists on the device, sent together with the other inputs of the step.
#pragma once
#include <vector>

#include "on_device/device_state.h"
#include "on_device/role.h"

namespace espalier {

struct NormLists {
  DevicePtr<const float> weight, inverse;
};

// nullptr: the list would change nothing.
struct RoleLayerLists {
  DevicePtr<const int32_t> kv_of_head;
  DevicePtr<const int32_t> q_rows, kv_rows, unit_index;
  DevicePtr<const float> head_scale, unit_scale;
  NormLists attention_norm, mlp_norm, post_attention_norm, post_mlp_norm;
  DevicePtr<const float> qkv_bias;
  DevicePtr<const float> query_norm, key_norm;
};

struct RoleLists {
  DevicePtr<const int32_t> hidden_index;                 // nullptr: all
  DevicePtr<const float> hidden_mask;                    // [hidden_width]
  DevicePtr<const float> hidden_scale;                   // the same; nullptr where it is 1 everywhere
  DevicePtr<const float> embedding_scale, addend_scale;  // hidden_scale with the model's multipliers; nullptr where that is 1 everywhere
  DevicePtr<const float> final_norm, final_norm_scale;
  std::vector<RoleLayerLists> layers;
};

struct DeviceRole : Role {
  DeviceLora lora;
  RoleLists lists;
};

// Compiling a role has two halves, so that its lists share one upload with others: first counting their bytes, then placing them.
uint64_t role_room(const Role& role);
DeviceRole place_role(Role role, DeviceLora lora, UploadBlock& block);

// A role with a block of its own, sent.
DeviceRole compile_role(Role role, DeviceLora lora, UploadBlock& block);

}  // namespace espalier

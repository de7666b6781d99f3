// A role in the form that ops take: its lists lie on the device. They are sent together with the other inputs of the step.
#pragma once
#include <vector>

#include "on_device/device_state.h"
#include "on_device/role.h"

namespace espalier {

struct NormLists {
  DevicePtr<const float> weight, inverse;
};

// The lists of a layer; nullptr where the list would change nothing.
struct RoleLayerLists {
  DevicePtr<const int32_t> kv_of_head;
  DevicePtr<const int32_t> q_rows, kv_rows, unit_index;
  DevicePtr<const float> head_scale, unit_scale;
  NormLists attention_norm, mlp_norm, post_attention_norm, post_mlp_norm;
  DevicePtr<const float> qkv_bias;
  DevicePtr<const float> query_norm, key_norm;
};

struct RoleLists {
  DevicePtr<const int32_t> hidden_index;  // nullptr where all are open
  DevicePtr<const float> hidden_mask;     // [hidden_width]
  DevicePtr<const float> hidden_scale;    // equals hidden_mask; nullptr where it is 1 everywhere
  // The factors of an embedding, and of what is added to the residual stream and of its gradient; nullptr where they are 1 everywhere.
  DevicePtr<const float> embedding_scale, addend_scale;
  // Equals addend_scale in a role that applies it when the residual stream is read (scale_when_read), and otherwise is nullptr.
  DevicePtr<const float> stream_scale;
  DevicePtr<const float> final_norm, final_norm_scale;
  std::vector<RoleLayerLists> layers;
};

struct DeviceRole : Role {
  DeviceLora lora;
  RoleLists lists;
};

// A role is compiled in two halves, so that its lists can share one upload with others: role_room counts their bytes, place_role places
// them.
uint64_t role_room(const Role& role);
DeviceRole place_role(Role role, DeviceLora lora, UploadBlock& block);

// Compiles a role with a block of its own and sends it.
DeviceRole compile_role(Role role, DeviceLora lora, UploadBlock& block);

}  // namespace espalier

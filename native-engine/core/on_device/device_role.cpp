#include "on_device/device_role.h"

namespace espalier {

namespace {

// Calls f(list, place of its address) for every list that ops need.
template <class F>
void for_each_list(const Role& role, RoleLists& to, F&& f) {
  const auto unless = [&](bool all, const std::vector<int32_t>& list, DevicePtr<const int32_t>& place) {
    if (!all) f(list, place);
  };
  const auto norm = [&](const OpenNorm& list, NormLists& place) {
    f(list.weight, place.weight);
    f(list.inverse, place.inverse);
  };
  unless(role.hidden_all, role.hidden_index, to.hidden_index);
  f(role.hidden_scale, to.hidden_mask);
  f(role.embedding_scale, to.embedding_scale);
  f(role.addend_scale, to.addend_scale);
  f(role.final_norm, to.final_norm);
  f(role.final_norm_scale, to.final_norm_scale);
  to.layers.resize(role.layers.size());
  for (size_t l = 0; l < role.layers.size(); l++) {
    const RoleLayer& r = role.layers[l];
    RoleLayerLists& lists = to.layers[l];
    f(r.kv_of_head, lists.kv_of_head);
    unless(r.heads_all, r.q_rows, lists.q_rows);
    unless(r.kv_all, r.kv_rows, lists.kv_rows);
    unless(r.units_all, r.unit_index, lists.unit_index);
    f(r.head_scale, lists.head_scale);
    f(r.unit_scale, lists.unit_scale);
    norm(r.attention_norm, lists.attention_norm);
    norm(r.mlp_norm, lists.mlp_norm);
    norm(r.post_attention_norm, lists.post_attention_norm);
    norm(r.post_mlp_norm, lists.post_mlp_norm);
    f(r.qkv_bias, lists.qkv_bias);
    f(r.query_norm, lists.query_norm);
    f(r.key_norm, lists.key_norm);
  }
}

}  // namespace

uint64_t role_room(const Role& role) {
  RoleLists nowhere;
  uint64_t bytes = 0;
  for_each_list(role, nowhere, [&](const auto& list, auto&) { bytes += UploadBlock::room_for(list); });
  return bytes;
}

DeviceRole place_role(Role role, DeviceLora lora, UploadBlock& block) {
  RoleLists lists;
  for_each_list(role, lists, [&](const auto& list, auto& place) { place = block.add(list); });
  if (!role.hidden_ones) lists.hidden_scale = lists.hidden_mask;
  if (role.embedding_scale.empty() && !role.scaled_when_read) lists.embedding_scale = lists.hidden_scale;
  if (role.addend_scale.empty()) lists.addend_scale = lists.hidden_scale;
  if (role.scaled_when_read) lists.stream_scale = lists.addend_scale;
  return {std::move(role), lora, std::move(lists)};
}

DeviceRole compile_role(Role role, DeviceLora lora, UploadBlock& block) {
  block.begin(role_room(role));
  DeviceRole placed = place_role(std::move(role), lora, block);
  block.send();
  return placed;
}

}  // namespace espalier

// Makes the inputs that all passes have, and the tables of the rotary embedding.
#include "step/layer_pass.h"

namespace espalier {

PassContext make_pass_context(Backend& backend, const DeviceModel& model, Workspace& ws, ComputeDType dtype, int64_t batch,
                              int64_t tokens) {
  PassContext c;
  c.backend = &backend;
  c.model = &model;
  c.ws = &ws;
  c.dtype = dtype == ComputeDType::kF32 ? DType::kF32 : DType::kBF16;
  c.batch = batch;
  c.tokens = tokens;
  const RopeTables tables = make_rope_tables(model.config(), tokens);
  const auto size = static_cast<int64_t>(tables.usual.cos.size());
  c.rope = backend.allocate(static_cast<uint64_t>(tables.local.cos.empty() ? 2 : 4) * static_cast<uint64_t>(size) * sizeof(float));
  const auto place = c.rope.data().as<float>();
  const auto add = [&](const RopeTable& table, DevicePtr<float> at) {
    upload_now<float>(backend, at, table.cos);
    upload_now<float>(backend, at + size, table.sin);
    return RopePlaces{at, at + size};
  };
  c.usual_rope = add(tables.usual, place);
  if (!tables.local.cos.empty()) c.local_rope = add(tables.local, place + 2 * size);
  return c;
}

uint64_t rope_room(const RopeTables& tables) {
  uint64_t bytes = 0;
  for (const RopeTable* t : {&tables.usual, &tables.local}) bytes += UploadBlock::room_for(t->cos) + UploadBlock::room_for(t->sin);
  return bytes;
}

void place_rope(PassContext& c, const RopeTables& tables, UploadBlock& block) {
  const auto add = [&](const RopeTable& table) { return RopePlaces{block.add(table.cos), block.add(table.sin)}; };
  c.usual_rope = add(tables.usual);
  c.local_rope = tables.local.cos.empty() ? RopePlaces{} : add(tables.local);
}

}  // namespace espalier

#include "training/device_home.h"

#include "device/registry.h"
#include "training/trainer_impl.h"

namespace espalier {

DeviceHome home_for(const std::shared_ptr<const ModelWeights>& model, const BackendSpec& spec,
                    const std::shared_ptr<const DeviceHome>& beside) {
  if (beside && beside->model && &beside->model->weights() == model.get()) {
    beside->backend->attach_thread();
    return *beside;
  }
  DeviceHome home;
  home.backend = make_backend(spec);
  home.model = std::make_shared<const DeviceModel>(*home.backend, model, weights_crowd(spec, *model));
  return home;
}

Workspace WorkspaceMemory::lay_out(const DeviceHome& home, const LoraSpec& lora, const WorkspaceShape& shape) {
  const ModelConfig& config = home.model->config();
  const uint64_t bytes = lay_out_workspace(config, lora, shape, nullptr).total_bytes;
  own_ = {};
  if (home.has_room_for(bytes)) return lay_out_workspace(config, lora, shape, home.memory->data());
  own_ = home.backend->allocate(bytes);
  return lay_out_workspace(config, lora, shape, own_.data());
}

// On the host only the state is shared: weights are mapped anyway, and an evaluation may have threads of its own.
std::shared_ptr<const DeviceHome> TrainerImpl::home(const BackendSpec& spec, bool with_state) const {
  const BackendSpec here = resolve_backend(options_.backend), there = resolve_backend(spec);
  if (here.name != there.name || here.device != there.device || !(ahead_ || with_state)) return nullptr;
  DeviceHome home;
  if (ahead_) home = {backend_, weights_, memory_, nullptr};
  if (with_state) {
    Role role = make_role(model_.weights(), deterministic_masks(model_.config(), log_alphas()), true);
    if (layout().has_own_weights()) take_own_vectors(model_.config(), layout(), state_.own_vectors(), role);
    home.state = std::make_shared<const StateInPlace>(StateInPlace{&layout(), std::move(role), state_.params()});
  }
  return std::make_shared<const DeviceHome>(std::move(home));
}

}  // namespace espalier

// A session has the rank of the state that it holds: that of pruning, or the wider one of recovery.
#include <cmath>

#include "session/session_core.h"

namespace espalier {
namespace {

// The scale of B A; the last bit of an alpha may be rounded.
bool same_scale(const LoraSpec& a, const LoraSpec& b) { return std::abs(a.scale() - b.scale()) <= 1e-12 * std::abs(b.scale()); }

}  // namespace

// The trainer of a state whose LoRA has another rank. Its own rank is all that there is then.
void SessionCore::reopen(const LoraSpec& lora) {
  TrainerOptions options = options_;
  if (lora.rank != lora_.rank) options.recover_lora_rank = 0;
  teachers_.clear();
  teacher_in_use_.clear();
  state_changes();
  trainer_.reset();  // before the new one asks for its memory
  trainer_ = Trainer::create(model_, lora, options);
  if (data_) trainer_->set_data(data_);
}

// Recovery begins with a wider LoRA where the session was opened for it. A state of a later step has it already. Returns the state as it
// was; nothing where LoRA stays as it is.
std::optional<TrainState> SessionCore::widen_where_recovery_begins(const SegmentPlan& plan) {
  const int64_t more = options_.recover_lora_rank;
  if (more == 0 || plan.train_masks || plan.one_shot || trainer().step() != plan.moments_from_step) return std::nullopt;
  TrainState narrow = trainer().export_state();
  hold(narrow.widened(model_->config(), more, plan.seed));
  return narrow;
}

// A state of any rank, in the place of the one that the session has.
void SessionCore::hold(const TrainState& state) {
  if (state.lora().rank != trainer().layout().lora().rank) reopen(state.lora());
  trainer().import_state(state);
}

void SessionCore::import_state(const std::vector<uint8_t>& bytes) {
  const LoraSpec found = read_lora_spec(bytes);
  const LoraSpec& here = trainer().layout().lora();
  if (found.rank != here.rank && found.targets == lora_.targets && same_scale(found, lora_) && found.rank >= lora_.rank) reopen(found);
  state_changes();
  trainer().import_state(TrainState::deserialize(bytes, model_->config(), trainer().layout().lora()));
}

}  // namespace espalier

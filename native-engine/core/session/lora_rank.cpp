// Changes the shape of a session to that of the state that it holds: LoRA of pruning, the wider LoRA of recovery, or own weights.
#include <cmath>

#include "espalier/base/error.h"
#include "session/session_core.h"
#include "training/own_weights.h"

namespace espalier {
namespace {

// Tells whether B A has the same scale in both. The scales may differ by a rounding of alpha.
bool same_scale(const LoraSpec& a, const LoraSpec& b) { return std::abs(a.scale() - b.scale()) <= 1e-12 * std::abs(b.scale()); }

}  // namespace

// Replaces the trainer for a state whose LoRA has another rank, or which has own weights. Such a session has already begun its recovery.
void SessionCore::reopen(const StateLayout& layout, uint64_t held_bytes) {
  TrainerOptions options = options_;
  options.held_bytes = held_bytes;
  if (layout.lora().rank != lora_.rank) options.recover_lora_rank = 0;
  teachers_.clear();
  teacher_in_use_.clear();
  state_changes();
  trainer_.reset();  // frees its memory before the new one takes its own
  trainer_ = Trainer::create(model_, layout, options);
  if (data_) trainer_->set_data(data_);
}

// Makes LoRA wider, or changes to own weights, where recovery begins and the session was opened for it. A state of a later step has them
// already. Returns the state as it was before; nothing where it does not change.
std::optional<TrainState> SessionCore::change_where_recovery_begins(const SegmentPlan& plan) {
  const int64_t more = options_.recover_lora_rank;
  const bool own = options_.recover_weights != RecoverWeights::kLora;
  if ((more == 0 && !own) || plan.train_masks || plan.one_shot || trainer().step() != plan.moments_from_step) return std::nullopt;
  TrainState before = trainer().export_state();
  if (before.has_own_weights()) return std::nullopt;
  const bool own_embeddings = options_.recover_weights == RecoverWeights::kAll;
  hold(own ? with_own_weights(*model_, before, own_embeddings) : before.widened(model_->config(), more, plan.seed));
  return before;
}

// Takes a state of any shape in place of the session's state.
void SessionCore::hold(TrainState state) {
  take_shape_of(state, 3 * static_cast<uint64_t>(state.size()) * sizeof(float));
  trainer().import_state(std::move(state));
}

void SessionCore::take_shape_of(const StateLayout& layout, uint64_t held_bytes) {
  const StateLayout& here = trainer().layout();
  if (layout.lora().rank != here.lora().rank || !(layout.widths() == here.widths())) reopen(layout, held_bytes);
}

void SessionCore::import_state(const std::string& path, const std::string& digest) {
  const MappedState mapped(path, ErrorCode::kStateCorrupt, "state_file");
  if (const std::string found = digest.empty() ? "" : mapped.digest(); found != digest)
    throw Error(ErrorCode::kStateCorrupt, "digest", "the state in " + path + " has digest " + found + ", not " + digest);
  const std::span<const uint8_t> bytes = mapped.bytes();
  if (!(read_block_gates(bytes) == options_.gates))  // checked before the session takes another shape
    throw Error(ErrorCode::kStateCorrupt, "state:mask", "the state has other kinds of gates than the session was opened with");
  const LoraSpec found = read_lora_spec(bytes);
  const bool is_wider = found.targets == lora_.targets && same_scale(found, lora_) && found.rank > lora_.rank;
  const StateReader state(bytes, model_->config(), is_wider ? found : lora_);
  take_shape_of(state.layout());
  state_changes();
  trainer().import_state(state);
}

}  // namespace espalier

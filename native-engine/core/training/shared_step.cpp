// Runs a step of the trainer on all its devices.
#include <algorithm>

#include "training/trainer_impl.h"

namespace espalier {

StepOutput TrainerImpl::step_on(const Masks& student_masks, const LossWeights& losses, const TokenRows& tokens, bool timed,
                                const LoraDropping& dropping, const std::function<void()>& meanwhile) {
  StepRequest request = request_for(student_masks, losses, tokens, dropping);
  request.timed = timed;
  const StepInput in = send_request(request, state_.lora(), teacher_, student_block_, student_);
  const bool shared = more_.count() > 0 && in.shards > 1;
  if (shared) {
    backend_->synchronize();  // the last update of LoRA must be done
    more_.start(request, {&teacher_, teacher_on_host_, teacher_version_}, *backend_, state_.params());
  }
  const MoreDevices::Settled settled{more_};
  StepTimes times;
  run_shards(context_, in, 0, shared ? in.shards / (more_.count() + 1) : in.shards, times);
  if (meanwhile) meanwhile();
  StepOutput out = finish_step(context_, in, shared ? more_.add_up(context_) : std::vector<OtherShards>{}, times);
  student_block_.read();  // the step has read it, since the host has waited for its results
  return out;
}

StepRequest TrainerImpl::request_for(const Masks& student_masks, const LossWeights& losses, const TokenRows& tokens,
                                     const LoraDropping& dropping) {
  const bool own = layout().has_own_weights();
  StepRequest r;
  r.student =
      make_role(model_.weights(), student_masks, options_.exact_sparse || own, own ? kWidthMultiple : workspace_.form.width_multiple);
  if (workspace_.form.scales_when_read && !own) scale_when_read(model_.config(), r.student);
  if (own) take_own_vectors(model_.config(), layout(), state_.own_vectors(), r.student);
  r.dropping = dropping;
  r.losses = losses;
  r.taught = losses.need_teacher();
  r.ids = tokens.ids;
  if (losses.lm != 0) r.targets = tokens.targets;
  r.predictions = std::count_if(r.targets.begin(), r.targets.end(), [](int32_t t) { return t >= 0; });
  if (r.taught) r.hidden_match = match_hidden(r.student, teacher_);
  r.shards = options_.micro_shards;
  r.checkpoint = options_.checkpoint_activations;
  return r;
}

}  // namespace espalier

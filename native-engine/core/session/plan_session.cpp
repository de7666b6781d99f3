#include <algorithm>

#include "session/session_core.h"

namespace espalier {

size_t teachers_kept(uint64_t teacher_bytes) {
  return std::clamp(static_cast<size_t>(kTeacherBytesKept / teacher_bytes), kTeachersKeptMin, kTeachersKeptMax);
}

MemoryPlan plan_session_memory(const ModelWeights& model, const LoraSpec& lora, const TrainerOptions& options, uint64_t slice_bytes) {
  // Adds what a session keeps in the machine's memory: teachers, and states on their way out.
  const auto with_session = [&](MemoryPlan plan, bool has_teachers) {
    const uint64_t kept = has_teachers ? std::min(teachers_kept(plan.lora), static_cast<size_t>(options.teachers)) * plan.lora : 0;
    const uint64_t state = plan.lora + plan.optimizer;
    // A piece of a state in slices is written while the next one is made. Any other state is handed out whole while the next one is made.
    const uint64_t states = 2 * (state > slice_bytes ? kStatePieceBytes : state);
    if (plan.host > 0) {
      plan.host += kept + states;
    } else {
      plan.teachers += kept;
      plan.scratch += states;
      plan.total += kept + states;
    }
    return plan;
  };
  PhasePlans plans = plan_phases(model.config(), model.bytes(), lora, options);
  plans.lora = with_session(plans.lora, true);
  if (plans.own) plans.own = with_session(*plans.own, false);  // own weights learn from the intact model alone
  return plans.larger();
}

}  // namespace espalier

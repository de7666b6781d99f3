#include <algorithm>

#include "session/session_core.h"

namespace espalier {

size_t teachers_kept(uint64_t teacher_bytes) {
  return std::clamp(static_cast<size_t>(kTeacherBytesKept / teacher_bytes), kTeachersKeptMin, kTeachersKeptMax);
}

MemoryPlan plan_session_memory(const ModelWeights& model, const LoraSpec& lora, const TrainerOptions& options, int64_t teachers) {
  const auto planned = [&](const TrainerOptions& with) {
    MemoryPlan plan = plan_memory(model.config(), model.bytes(), lora, with);
    const uint64_t kept = std::min(teachers_kept(plan.lora), static_cast<size_t>(teachers)) * plan.lora;
    const uint64_t states = 2 * (plan.lora + plan.optimizer);  // one is being handed out while the next is made
    if (plan.host > 0) {
      plan.host += kept + states;
    } else {
      plan.teachers += kept;
      plan.scratch += states;
      plan.total += kept + states;
    }
    return plan;
  };
  MemoryPlan plan = planned(options);
  const uint64_t limit = options.memory_limit_bytes ? options.memory_limit_bytes : plan.available;
  if (!plan.fits(limit)) plan.change = smallest_change(options, limit, planned);
  return plan;
}

}  // namespace espalier

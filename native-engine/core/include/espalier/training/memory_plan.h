// Computes the memory of a session before it starts (core/training/memory_plan.cpp).
#pragma once
#include <cstdint>
#include <functional>
#include <optional>

#include "espalier/on_device/trainer_options.h"

namespace espalier {

// Options under which a run fits, and the memory that it then needs.
struct MemoryChange {
  int64_t batch_size = 0, sequence_length = 0;
  bool checkpoint_activations = false, stream_weights = false;
  uint64_t total = 0;
};

// The bytes on the device. For several cards the bytes on the one that needs the most, the first; for several processors the bytes of all.
struct MemoryPlan {
  uint64_t weights = 0, lora = 0, optimizer = 0, activations = 0, teachers = 0, scratch = 0, total = 0;
  uint64_t available = 0;
  int64_t devices = 1, devices_there = 1;  // the devices that compute in a step, and those that the session was given
  uint64_t state = 0, own_state = 0;       // the bytes of a state's file while LoRA learns, and while own weights learn (0: they never do)
  // The memory of this machine, where the device has memory of its own; otherwise 0.
  uint64_t host = 0, host_available = 0;

  bool fits(uint64_t limit) const { return total <= limit && host <= host_available; }
};
// The plans of the steps in which LoRA learns, and of those in which own weights learn after it, where they do.
struct PhasePlans {
  MemoryPlan lora;
  std::optional<MemoryPlan> own;

  MemoryPlan larger() const;  // the device's memory is that of the larger one, and so is the host's
};
PhasePlans plan_phases(const ModelConfig& config, uint64_t weight_bytes, const LoraSpec& lora, const TrainerOptions& options);
// weight_bytes: the bytes of the stored model. Where the device is the host, the model's files are mapped and read in place. Where own
// weights are to learn after LoRA, the larger one of both plans is returned.
MemoryPlan plan_memory(const ModelConfig& config, uint64_t weight_bytes, const LoraSpec& lora, const TrainerOptions& options);
// Plans only for a state of this layout.
MemoryPlan plan_memory(const ModelConfig& config, uint64_t weight_bytes, const StateLayout& layout, const TrainerOptions& options);

// Returns the first of these options whose plan fits: checkpointing; streamed weights (where the device has memory of its own); both. These
// change no result. Otherwise the largest batch that fits, without or with them; otherwise the longest sequence in the smallest batch,
// which has one sequence for each shard. `plan` is called a few times.
std::optional<MemoryChange> smallest_change(const TrainerOptions& options, uint64_t limit,
                                            const std::function<MemoryPlan(const TrainerOptions&)>& plan);

}  // namespace espalier

// The memory of a session before it starts (core/training/memory_plan.cpp).
#pragma once
#include <cstdint>
#include <functional>
#include <optional>

#include "espalier/trainer_options.h"

namespace espalier {

// Options under which a run fits, and its memory then.
struct MemoryChange {
  int64_t batch_size = 0, sequence_length = 0;
  bool checkpoint_activations = false, stream_weights = false;
  uint64_t total = 0;
};

struct MemoryPlan {  // bytes: on the device; of several cards on each, the first of which needs the most; of several processors in all
  uint64_t weights = 0, lora = 0, optimizer = 0, activations = 0, teachers = 0, scratch = 0, total = 0;
  uint64_t available = 0;
  int64_t devices = 1, devices_there = 1;  // that compute in a step, and that the session was given
  uint64_t state = 0, own_state = 0;       // of a state's file while LoRA learns, and where own weights learn; 0: they don't
  // Memory of this machine, where the device has memory of its own; else 0.
  uint64_t host = 0, host_available = 0;
  std::optional<MemoryChange> change;  // where `total` is too much: the smallest that would help, if any does

  bool fits(uint64_t limit) const { return total <= limit && host <= host_available; }
};
// weight_bytes: of the model as it is stored. Where the device is the host its files are mapped and read as they are.
// Where own weights are to learn after LoRA, the larger one of both plans.
MemoryPlan plan_memory(const ModelConfig& config, uint64_t weight_bytes, const LoraSpec& lora, const TrainerOptions& options);
// For a state of this layout alone.
MemoryPlan plan_memory(const ModelConfig& config, uint64_t weight_bytes, const StateLayout& layout, const TrainerOptions& options);

// The first of these plans that fits: with checkpointing, with streamed weights (where the device has memory of its own), with both, which
// change no result; else with the largest batch that fits, without or with them; else the longest sequence of the smallest batch, a
// sequence for each shard. `plan` is asked a few times.
std::optional<MemoryChange> smallest_change(const TrainerOptions& options, uint64_t limit,
                                            const std::function<MemoryPlan(const TrainerOptions&)>& plan);

}  // namespace espalier

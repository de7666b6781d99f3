// Tells the memory of a run before it starts, from the layout that the run allocates and the sizes of its state.
#include "device/registry.h"
#include "espalier/error.h"
#include "model/tensor_names.h"
#include "step/trainer_impl.h"

namespace espalier {

namespace {

// Code and libraries, measured with an empty workspace.
constexpr uint64_t kProcessBytes = uint64_t{14} << 20;

}  // namespace

MemoryPlan plan_memory(const ModelConfig& config, uint64_t weight_bytes, const LoraSpec& lora, const TrainerOptions& options) {
  const BackendSpec backend = resolve_backend(options.backend);
  const WorkspaceShape shape = training_shape(options);
  const Workspace ws = lay_out_workspace(config, lora, shape, nullptr);
  const int64_t lora_count = lora_parameter_count(config, lora), mask_count = mask_parameter_count(config);
  const ScratchShape scratch{options.batch_size, options.sequence_length, lora.rank,
                             options.dtype == ComputeDType::kF32 ? DType::kF32 : DType::kBF16};
  MemoryPlan plan;
  plan.weights = weight_bytes;
  plan.lora = static_cast<uint64_t>(lora_count + mask_count) * 4;
  plan.optimizer = 2 * plan.lora;
  plan.teachers = plan.lora;
  plan.activations = ws.activation_bytes;
  plan.scratch = ws.scratch_bytes + kind_of(backend).scratch_bytes(backend, config, scratch) + kProcessBytes;
  plan.total = plan.weights + plan.lora + plan.optimizer + plan.activations + plan.teachers + plan.scratch;
  plan.available = describe_device(backend).memory_available_bytes;
  return plan;
}

WorkspaceShape training_shape(const TrainerOptions& options) {
  WorkspaceShape shape;
  shape.batch = options.batch_size;
  shape.tokens = options.sequence_length;
  shape.dtype = options.dtype;
  shape.checkpoint = options.checkpoint_activations;
  return shape;
}

}  // namespace espalier

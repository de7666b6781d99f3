// Computes the memory of a run before it starts, from the layout that the run allocates and the sizes of its state.
#include <algorithm>
#include <cmath>
#include <vector>

#include "base/memory_use.h"
#include "device/registry.h"
#include "espalier/base/error.h"
#include "espalier/training/memory_plan.h"
#include "model/tensor_names.h"
#include "training/trainer_impl.h"

namespace espalier {

namespace {

// The bytes of code and libraries, measured with an empty workspace.
constexpr uint64_t kProcessBytes = uint64_t{14} << 20;

// Returns the bytes of the lists, scales and norms of a role whose masks close little (device_role.cpp).
uint64_t role_bytes(const ModelConfig& c) {
  const int64_t width = c.hidden_size;
  const int64_t multipliers = (c.embedding_multiplier != 1) + (c.residual_multiplier != 1) + (c.logits_divisor != 1);
  int64_t values = (4 + multipliers) * width;
  for (const LayerShape& l : c.layers) {
    const int64_t q = l.heads * c.head_dim, kv = l.kv_heads * c.head_dim;
    values += l.heads + 2 * q + kv + 2 * l.intermediate + (c.pre_norms ? 4 : 0) * width + (c.post_norms ? 4 : 0) * width +
              (c.qkv_bias ? q + 2 * kv : 0);
    if (c.head_norms) values += head_norm_size(c, l.heads) + head_norm_size(c, l.kv_heads);
  }
  return static_cast<uint64_t>(values) * 4;
}

// The bytes of the stored projections of all layers, and of two of the largest. In a file all large tensors have one dtype.
struct LayerBytes {
  uint64_t all = 0, two = 0;
};

LayerBytes layer_bytes(const ModelConfig& c, uint64_t weight_bytes) {
  int64_t all = 0, largest = 0;
  for (const LayerShape& shape : c.layers) {
    int64_t values = 0;
    for (int p = 0; p < kProjectionCount; p++) {
      const Extent e = projection_extent(c, shape, p);
      values += e.rows * e.cols;
    }
    all += values;
    largest = std::max(largest, values);
  }
  const int64_t tables = c.vocab_size * c.hidden_size * (c.tied_embeddings ? 1 : 2);
  const double bytes_each = static_cast<double>(weight_bytes) / static_cast<double>(std::max<int64_t>(all + tables, 1));
  const auto bytes = [&](int64_t values) { return static_cast<uint64_t>(bytes_each * static_cast<double>(values)); };
  return {bytes(all), bytes(std::min<int64_t>(2, c.layer_count) * largest)};
}

}  // namespace

namespace {

// The parameters that learn, and the rank of LoRA's narrow products.
struct Trained {
  int64_t floats = 0, masks = 0, rank = 1;
  bool own_weights = false;
};

MemoryPlan plan_for(const ModelConfig& config, uint64_t weight_bytes, const LoraSpec& lora, const Trained& trained,
                    const TrainerOptions& options) {
  const BackendSpec backend = resolve_backend(options.backend);
  const BackendKind& kind = kind_of(backend);
  WorkspaceShape shape = training_shape(options);
  if (trained.own_weights) shape.own_weights = trained.floats;
  const Workspace ws = lay_out_workspace(config, lora, shape, nullptr);
  const auto trained_bytes = static_cast<uint64_t>(trained.floats) * 4, mask_bytes = static_cast<uint64_t>(trained.masks) * 4;
  // Own weights learn only from the intact model, as all runs without numerous teachers do.
  const uint64_t teacher_bytes = trained.own_weights || options.teachers == 0 ? 0 : trained_bytes;
  const uint64_t fit_bytes =
      std::max(Refit::bytes(config, trained.floats, trained.own_weights ? 0 : lora.rank, options), Scan::bytes(config, options));
  const ScratchShape scratch{shape.batch, options.sequence_length, trained.rank,
                             options.dtype == ComputeDType::kF32 ? DType::kF32 : DType::kBF16};
  MemoryPlan plan;
  plan.weights = weight_bytes;
  plan.lora = trained_bytes + mask_bytes;
  plan.optimizer = 2 * plan.lora;
  (trained.own_weights ? plan.own_state : plan.state) = plan.lora + plan.optimizer;
  plan.activations = ws.activation_bytes;
  plan.scratch = ws.scratch_bytes + kind.scratch_bytes(backend, config, scratch);
  if (kind.has_own_memory()) {
    const uint64_t roles = 2 * role_bytes(config),
                   rope = static_cast<uint64_t>(options.sequence_length * config.head_dim) * (config.local_rope_theta != 0 ? 8 : 4);
    // The LoRA of the teacher in use and of the next one.
    plan.teachers = std::min<uint64_t>(2, static_cast<uint64_t>(options.teachers)) * teacher_bytes;
    // An evaluation uses the weights, the state and the memory of the run (device_home.h), and adds a role.
    plan.scratch += mask_bytes + roles + rope + roles / 2;
    plan.host = kProcessBytes + roles + fit_bytes;
    if (options.stream_weights) {
      const LayerBytes layers = layer_bytes(config, weight_bytes);
      plan.weights = weight_bytes - layers.all + layers.two;
      plan.host += layers.all;
    }
    plan.host_available = available_bytes();
  } else {
    plan.teachers = teacher_bytes;
    plan.scratch += kProcessBytes + fit_bytes;
  }
  plan.devices = devices_at_work(options, trained.own_weights);
  plan.devices_there = static_cast<int64_t>(options.more_devices.size()) + 1;
  plan.available = describe_device(backend).memory_available_bytes;
  // Every further device has the weights and the memory of a pass, and of the state only LoRA.
  const auto others = static_cast<uint64_t>(plan.devices - 1);
  if (kind.has_own_memory()) {
    for (uint64_t i = 0; i < others; i++)
      plan.available = std::min(plan.available, describe_device(options.more_devices[i]).memory_available_bytes);
    if (options.stream_weights) plan.host += others * layer_bytes(config, weight_bytes).all;
  } else {
    plan.available += options.held_bytes;
    plan.activations *= others + 1;
    plan.teachers += others * teacher_bytes;
    plan.scratch += others * (trained_bytes + ws.scratch_bytes + kind.scratch_bytes(backend, config, scratch));
  }
  plan.total = plan.weights + plan.lora + plan.optimizer + plan.activations + plan.teachers + plan.scratch;
  return plan;
}

// Returns the open widths of a model without the given share of its prunable parameters. It assumes that hidden units stay open, since
// nearly all do.
OpenWidths widths_after(const ModelConfig& c, double sparsity) {
  const auto left = [&](int64_t count) {
    return std::clamp<int64_t>(static_cast<int64_t>(std::ceil(static_cast<double>(count) * (1.0 - sparsity))), 1, count);
  };
  OpenWidths widths;
  widths.hidden = c.hidden_size;
  for (const LayerShape& l : c.layers) {
    // A key/value head is read until all of its query heads are closed.
    const double all_closed = std::pow(sparsity, static_cast<double>(l.heads) / static_cast<double>(std::max<int64_t>(l.kv_heads, 1)));
    const auto kv_heads = static_cast<int64_t>(std::ceil(static_cast<double>(l.kv_heads) * (1.0 - all_closed)));
    widths.layers.push_back({left(l.heads), std::clamp<int64_t>(kv_heads, 1, l.kv_heads), left(l.intermediate)});
  }
  return widths;
}

}  // namespace

MemoryPlan plan_memory(const ModelConfig& config, uint64_t weight_bytes, const StateLayout& layout, const TrainerOptions& options) {
  return plan_for(config, weight_bytes, layout.lora(),
                  {layout.lora_size(), layout.mask_size(), layout.lora().rank, layout.has_own_weights()}, options);
}

PhasePlans plan_phases(const ModelConfig& config, uint64_t weight_bytes, const LoraSpec& narrow, const TrainerOptions& options) {
  LoraSpec lora = narrow;
  lora.rank += options.recover_lora_rank;
  PhasePlans plans{plan_for(config, weight_bytes, lora,
                            {lora_parameter_count(config, lora), mask_parameter_count(config, options.gates), lora.rank, false}, options),
                   std::nullopt};
  if (options.recover_weights != RecoverWeights::kLora) {
    OpenWidths widths = widths_after(config, options.planned_sparsity);
    widths.own_embeddings = options.recover_weights == RecoverWeights::kAll;
    plans.own = plan_memory(config, weight_bytes, StateLayout(config, widths, options.gates), options);
  }
  return plans;
}

MemoryPlan PhasePlans::larger() const {
  if (!own) return lora;
  MemoryPlan out = own->total > lora.total ? *own : lora;
  out.host = std::max(own->host, lora.host);
  out.state = lora.state;
  out.own_state = own->own_state;
  out.devices = lora.devices;
  return out;
}

MemoryPlan plan_memory(const ModelConfig& config, uint64_t weight_bytes, const LoraSpec& lora, const TrainerOptions& options) {
  return plan_phases(config, weight_bytes, lora, options).larger();
}

std::optional<MemoryChange> smallest_change(const TrainerOptions& options, uint64_t limit,
                                            const std::function<MemoryPlan(const TrainerOptions&)>& plan) {
  const auto tried = [&](const TrainerOptions& with) -> std::optional<MemoryChange> {
    const MemoryPlan planned = plan(with);
    if (!planned.fits(limit)) return std::nullopt;
    return MemoryChange{with.batch_size, with.sequence_length, with.checkpoint_activations, with.stream_weights, planned.total};
  };
  // Returns the largest value below the present one that fits; memory grows with the value.
  const auto largest = [&](TrainerOptions with, int64_t TrainerOptions::* value, int64_t step) {
    std::optional<MemoryChange> best;
    for (int64_t low = 0, high = (with.*value - 1) / step; low < high;) {
      const int64_t middle = (low + high + 1) / 2;
      with.*value = middle * step;
      const auto found = tried(with);
      if (found) best = found;
      (found ? low : high) = found ? middle : middle - 1;
    }
    return best;
  };
  constexpr int64_t kSequenceStep = 64;
  // The options, and the same with more and more settings that change no result.
  std::vector<TrainerOptions> same_results{options};
  const auto also = [&](bool checkpoint, bool stream) {
    TrainerOptions with = options;
    with.checkpoint_activations |= checkpoint;
    with.stream_weights |= stream;
    const auto known = [&](const TrainerOptions& other) {
      return with.checkpoint_activations == other.checkpoint_activations && with.stream_weights == other.stream_weights;
    };
    if (std::none_of(same_results.begin(), same_results.end(), known)) same_results.push_back(with);
  };
  also(true, false);
  if (plan(options).host > 0) {
    also(false, true);
    also(true, true);
  }
  for (const TrainerOptions& with : same_results)
    if (const auto found = tried(with)) return found;
  for (const TrainerOptions& with : same_results)
    if (const auto found = largest(with, &TrainerOptions::batch_size, options.micro_shards)) return found;
  TrainerOptions least = same_results.back();
  least.batch_size = options.micro_shards;
  return largest(least, &TrainerOptions::sequence_length, kSequenceStep);
}

bool streams_weights(const TrainerOptions& options) {
  return options.stream_weights && kind_of(resolve_backend(options.backend)).has_own_memory();
}

WorkspaceShape training_shape(const TrainerOptions& options) {
  if (options.micro_shards < 1 || options.batch_size % options.micro_shards != 0)
    throw Error(ErrorCode::kInvalidArgument, "micro_shards",
                "must divide batch_size, which is " + std::to_string(options.batch_size) + ", is " + std::to_string(options.micro_shards));
  WorkspaceShape shape;
  shape.batch = options.batch_size / options.micro_shards;
  shape.shards = options.micro_shards;
  shape.gradients = gradient_places(options.micro_shards);
  shape.tokens = options.sequence_length;
  shape.dtype = options.dtype;
  shape.checkpoint = options.checkpoint_activations;
  shape.dropout = options.recover_lora_dropout > 0;
  shape.form = kind_of(resolve_backend(options.backend)).step_form();
  return shape;
}

}  // namespace espalier

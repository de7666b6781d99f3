// The options of a training session: what decides its memory and its bits besides the settings of a segment.
#pragma once
#include <cstdint>
#include <vector>

#include "espalier/base/dtypes.h"
#include "espalier/device/device.h"
#include "espalier/method/train_state.h"

namespace espalier {

// The parameters that learn under frozen masks: LoRA, or the student's own weights, into which LoRA is folded when these steps begin.
enum class RecoverWeights { kLora, kLayers, kAll };

struct TrainerOptions {
  ComputeDType dtype = ComputeDType::kBF16;
  int64_t batch_size = 8;         // B
  int64_t sequence_length = 128;  // T
  // The equal parts of a batch. Each has its own gradients, which are added in a balanced tree, so that several devices can share them.
  int64_t micro_shards = 1;
  bool exact_sparse = true;  // closed heads and units take no part in a step
  bool checkpoint_activations = false;
  // For steps under frozen masks: the probability that LoRA does not see an entry of its input, from 0 to below 1; and the rank that a
  // session adds to LoRA when these steps begin.
  double recover_lora_dropout = 0;
  int64_t recover_lora_rank = 0;
  // The number of batches on which recovery begins with a refit, in the order of its steps: before the first of these steps, LoRA of o_proj
  // and down_proj is fitted to the intact model on them. 0: no refit.
  int64_t recover_refit_batches = 0;
  // The sequences on which a scan scores the forms of a layer, behind those that it is calibrated on. Above 0, each step scores a
  // layer and trains nothing. 0: the session scans nothing.
  int64_t scan_sequences = 0;
  int64_t calibration_sequences = 128;  // those of the plans that scan; only the plan of memory uses it
  RecoverWeights recover_weights = RecoverWeights::kLora;
  // The most snapshots of the run that instruct it. Without any, no snapshot is kept, and a teacher has no LoRA on the device.
  int64_t teachers = 1;
  BlockGates gates;  // the gates that the states of the session have
  // The share of the prunable parameters that is gone when own weights begin to learn. Only the plan of memory uses it.
  double planned_sparsity = 0;
  bool stream_weights = false;      // weights come layer by layer from the host's memory; without effect where the device is the host
  uint64_t memory_limit_bytes = 0;  // 0: all memory that the device has free
  // The bytes of a state that the process holds already, and frees while the session takes its memory. They count as available where the
  // device is the host.
  uint64_t held_bytes = 0;
  BackendSpec backend;
  // Devices of the same kind as `backend`, which compute shards beside it. The bits do not depend on their number.
  std::vector<BackendSpec> more_devices;
};

}  // namespace espalier

// Writes a pruned model as a Hugging Face folder.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "espalier/model_weights.h"
#include "espalier/train_state.h"
#include "espalier/trainer.h"

namespace espalier {

// kMasked: all shapes stay, masks are folded into the weights and LoRA is merged, so any loader of the architecture runs it.
// kCompacted: closed heads, units and hidden units are gone; the widths of each layer stand in config.json's `espalier`
// object, which this engine reads.
enum class ExportForm { kMasked, kCompacted };
enum class ExportDType { kAsSource, kF32, kBF16, kF16 };

struct ExportRequest {
  ExportForm form = ExportForm::kMasked;
  ExportDType dtype = ExportDType::kAsSource;
  std::string source_folder;                 // where config.json, tokenizer and licence files come from; empty: there are none to copy
  std::string out_folder;                    // must not exist, or be empty; appears whole or not at all
  std::string model_card;                    // of README.md, with the provenance; empty: a plain one. What loads the folder is added
  uint64_t shard_bytes_max = 5'000'000'000;  // beyond it, tensors are spread over several files with an index
};

struct ExportedFile {
  std::string name;
  uint64_t size_bytes = 0;
  std::string sha256;  // hex
};

struct ExportResult {
  std::vector<ExportedFile> files;
  uint64_t parameter_count = 0;  // tied ones once
  uint64_t total_bytes = 0;      // of all files
  ModelConfig config;            // what load_model will read
};

// `state` nullptr: no LoRA to merge. `masks` with empty vectors: everything open. Streams tensor by tensor: needs one row
// and a buffer beyond the mapped base weights. Looks at `cancel` several times a second.
// Throws Error(kInvalidArgument | kNotSupported | kIo | kCancelled, field, ...); then no folder is left behind.
ExportResult export_model(const ModelWeights& model, const TrainState* state, const Masks& masks, const ExportRequest& request,
                          const std::function<void(double done_share)>& on_progress, const std::atomic<bool>& cancel);

}  // namespace espalier

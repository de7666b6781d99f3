// Writes a pruned model in a container and a form that other programs load.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "espalier/model_masks.h"
#include "espalier/model_weights.h"
#include "espalier/train_state.h"

namespace espalier {

// The file format. kSafetensors is a Hugging Face folder, kGguf one file for llama.cpp.
enum class ExportContainer { kSafetensors, kGguf };

// The shapes. In each form the masks are folded into the weights and LoRA is merged.
// kMasked: the source's shapes, so any loader of the architecture runs it.
// kPadded: closed heads, units and hidden units are gone, and zeros make all layers as wide as the widest.
// kBlocks: as kPadded, but MLP widths differ by layer, and whole attention blocks or MLPs may be missing (DeciLM).
// kCompacted: closed heads, units and hidden units are gone; each layer has its own widths.
enum class ExportForm { kMasked, kPadded, kBlocks, kCompacted };

enum class ExportDType { kAsSource, kF32, kBF16, kF16, kQ8_0 };

struct ExportRequest {
  ExportContainer container = ExportContainer::kSafetensors;
  ExportForm form = ExportForm::kMasked;
  ExportDType dtype = ExportDType::kAsSource;
  int64_t multiple_of = 1;                   // MLP and hidden widths are rounded up to it with zeros, to the source's width at most
  std::string source_folder;                 // where config.json, tokenizer and licence files come from; empty: no such files to copy
  std::string out_folder;                    // must not exist, or be empty; appears whole or not at all
  std::string model_card;                    // of README.md, with the provenance; empty: a plain one. The list of loaders is added
  uint64_t shard_bytes_max = 5'000'000'000;  // beyond it, safetensors are spread over several files with an index
};

struct ExportedFile {
  std::string name;
  uint64_t size_bytes = 0;
  std::string sha256;  // hex
};

// Tied parameters count once; padding counts.
struct ExportSize {
  uint64_t parameters = 0;
  uint64_t multiplications = 0;  // of a token with weights: all matrices but the embedding
  uint64_t bytes = 0;            // of the weights as they are stored
};

struct ExportResult {
  std::vector<ExportedFile> files;
  uint64_t parameter_count = 0;
  uint64_t total_bytes = 0;        // of all files
  ModelConfig config;              // of the exported model
  std::string architecture;        // as the container names it: "LlamaForCausalLM", "deci", ...
  int64_t context_length = 0;      // up to which it is the student
  std::vector<std::string> notes;  // what a user should know about this export, a sentence each
};

// Throws Error(kNotSupported, field, ...) for a model that the container can't hold under any masks.
void check_export(const ModelConfig& source, ExportContainer container, ExportForm form, ExportDType dtype);

// `state` nullptr: no LoRA to merge. `masks` with empty vectors: everything open. Streams tensor by tensor: needs one row
// and a buffer beyond the mapped base weights. Looks at `cancel` several times a second.
// Throws Error(kInvalidArgument | kNotSupported | kIo | kCancelled, field, ...); then no folder is left behind.
ExportResult export_model(const ModelWeights& model, const TrainState* state, const Masks& masks, const ExportRequest& request,
                          const std::function<void(double done_share)>& on_progress, const std::atomic<bool>& cancel);

}  // namespace espalier

// Writes a pruned model in a container and a form that other programs can load.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "espalier/method/model_masks.h"
#include "espalier/method/train_state.h"
#include "espalier/model/model_weights.h"

namespace espalier {

// The file format. kSafetensors is a Hugging Face folder, kGguf is one file for llama.cpp.
enum class ExportContainer { kSafetensors, kGguf };

// The shapes of the export. In each form the masks are folded into the weights, and LoRA is merged.
// kMasked: the source's shapes, so any loader of the architecture runs it.
// kPadded: closed heads, units and hidden units are removed, and zeros make all layers as wide as the widest.
// kBlocks: like kPadded, but MLP widths differ by layer, and whole attention blocks or MLPs may be missing (DeciLM).
// kCompacted: closed heads, units and hidden units are removed, and each layer has its own widths.
enum class ExportForm { kMasked, kPadded, kBlocks, kCompacted };

enum class ExportDType { kAsSource, kF32, kBF16, kF16, kQ8_0 };

struct ExportRequest {
  ExportContainer container = ExportContainer::kSafetensors;
  ExportForm form = ExportForm::kMasked;
  ExportDType dtype = ExportDType::kAsSource;
  int64_t multiple_of = 1;    // MLP and hidden widths are rounded up to it with zeros, at most to the source's width
  std::string source_folder;  // has config.json, tokenizer and licence files; empty where there are no such files to copy
  std::string out_folder;     // must not exist or be empty; it appears whole or not at all
  // The start of README.md, with the provenance; empty: a plain one. The list of loaders is added.
  std::string model_card;
  uint64_t shard_bytes_max = 5'000'000'000;  // larger safetensors are spread over several files with an index
};

struct ExportedFile {
  std::string name;
  uint64_t size_bytes = 0;
  std::string sha256;  // in hexadecimal
};

// The size of an exported model. Tied parameters count once, and padding counts.
struct ExportSize {
  uint64_t parameters = 0;
  uint64_t multiplications = 0;  // multiplications with weights for one token: all matrices but the embedding
  uint64_t bytes = 0;            // the bytes of the stored weights
};

struct ExportResult {
  std::vector<ExportedFile> files;
  uint64_t parameter_count = 0;
  uint64_t tensor_bytes = 0;       // the bytes of the weights, without the headers of their files
  uint64_t total_bytes = 0;        // the bytes of all files
  ModelConfig config;              // the config of the exported model
  std::string architecture;        // the container's name: "LlamaForCausalLM", "deci", ...
  int64_t context_length = 0;      // the length up to which the export equals the student
  std::vector<std::string> notes;  // facts that a user should know about this export, one sentence each
};

// Throws Error(kNotSupported, field, ...) for a model that the container can't hold under any masks.
void check_export(const ModelConfig& source, ExportContainer container, ExportForm form, ExportDType dtype);

// Writes the export. A nullptr `state` has no LoRA to merge, and `masks` with empty vectors leave everything open. It streams tensor by
// tensor, so beyond the mapped base weights it needs only one row and a buffer. It checks `cancel` several times a second. Throws
// Error(kInvalidArgument | kNotSupported | kIo | kCancelled, field, ...) and then leaves no folder behind.
ExportResult export_model(const ModelWeights& model, const TrainState* state, const Masks& masks, const ExportRequest& request,
                          const std::function<void(double done_share)>& on_progress, const std::atomic<bool>& cancel);

}  // namespace espalier

#include "espalier/export/export.h"

#include <array>
#include <filesystem>
#include <span>

#include "export/export_plan.h"
#include "export/export_size.h"
#include "export/export_tensors.h"
#include "export/folder_writer.h"
#include "export/gguf/gguf_model.h"
#include "export/gguf/gguf_tokenizer.h"
#include "export/safetensors/export_config.h"
#include "export/safetensors/export_readme.h"
#include "export/safetensors/python_files.h"
#include "export/safetensors/safetensors_folder.h"
#include "files/json_reader.h"
#include "files/mapped_file.h"
#include "model/architecture.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kTokenizerSettings = "tokenizer_config.json";
// The files besides the weights that a tokenizer or a text generator reads.
constexpr std::array kCompanions = {"generation_config.json",
                                    "tokenizer.json",
                                    "tokenizer_config.json",
                                    "special_tokens_map.json",
                                    "added_tokens.json",
                                    "tokenizer.model",
                                    "vocab.json",
                                    "merges.txt",
                                    "chat_template.jinja",
                                    "chat_template.json"};
// The licences of the weights are copied with them.
constexpr std::array kLicences = {"LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt", "USE_POLICY.md"};

// The largest tokenizers in use have about 40 MB.
constexpr size_t kCopiedBytesMax = 128 << 20;

// For classes of known models, transformers makes a pre-tokenizer of its own in place of that of tokenizer.json (GPT2Tokenizer does so for
// SmolLM2), and texts get other tokens than they had here. This class uses tokenizer.json as it is. The classes of known models have other
// usual values than this one, so these values are written out.
std::string with_plain_tokenizer_class(const std::string& text) {
  parse_json(text, ErrorCode::kModelCorrupt, "tokenizer_config.json", kTableLimits);  // the strict check
  nlohmann::ordered_json settings = nlohmann::ordered_json::parse(text);
  if (!settings.is_object() || (settings.contains("auto_map") && settings["auto_map"].contains("AutoTokenizer"))) return text;
  constexpr const char* kClass = "PreTrainedTokenizerFast";
  const std::string given =
      settings.contains("tokenizer_class") && settings["tokenizer_class"].is_string() ? settings["tokenizer_class"].get<std::string>() : "";
  if (given == kClass || given == "TokenizersBackend") return text;
  settings["tokenizer_class"] = kClass;
  if (!settings.contains("model_input_names")) settings["model_input_names"] = {"input_ids", "attention_mask"};
  const bool left = given.starts_with("Llama") || given.starts_with("Gemma");
  if (left && !settings.contains("padding_side")) settings["padding_side"] = "left";
  return settings.dump(2) + "\n";
}

void copy_files(FolderWriter& folder, const std::string& source_folder, std::span<const char* const> names) {
  for (const char* name : names) {
    const std::string path = source_folder + "/" + name;
    std::error_code ec;
    if (source_folder.empty() || !fs::is_regular_file(path, ec)) continue;
    std::string text = read_text_file(path, kCopiedBytesMax, ErrorCode::kModelNotFound, name);
    if (name == kTokenizerSettings && fs::is_regular_file(source_folder + "/tokenizer.json", ec)) text = with_plain_tokenizer_class(text);
    folder.add_file(name, text);
  }
}

bool same_widths(const ModelConfig& a, const ModelConfig& b) {
  if (a.layers.size() != b.layers.size()) return false;
  for (size_t l = 0; l < a.layers.size(); ++l) {
    const LayerShape &x = a.layers[l], &y = b.layers[l];
    if (x.heads != y.heads || x.kv_heads != y.kv_heads || x.intermediate != y.intermediate) return false;
  }
  return true;
}

std::string source_config(const ExportRequest& request) {
  if (request.source_folder.empty()) return "";
  return read_text_file(request.source_folder + "/config.json", 16 << 20, ErrorCode::kModelNotFound, "config.json");
}

std::string config_json(const ModelWeights& model, const ExportPlan& plan, const ExportRequest& request) {
  const std::string text = export_config_json(source_config(request), model.config(), plan, request.dtype);
  const ModelConfig read_back = parse_model_config(text);
  if (read_back.hidden_size != plan.config.hidden_size || !same_widths(read_back, plan.config) ||
      read_back.tied_embeddings != plan.config.tied_embeddings) {
    throw Error(ErrorCode::kInvalidArgument, "source_folder", "config.json in " + request.source_folder + " is not that of the model");
  }
  return text;
}

}  // namespace

ExportResult export_model(const ModelWeights& model, const TrainState* state, const Masks& masks, const ExportRequest& request,
                          const std::function<void(double)>& on_progress, const std::atomic<bool>& cancel) {
  const ExportPlan plan = plan_export(model.config(), masks, request);
  const std::vector<ExportTensor> tensors = export_tensors(model, state, plan, request.dtype);
  const ExportSize size = size_of(tensors, plan.config.tied_embeddings);
  const bool gguf = request.container == ExportContainer::kGguf;
  ExportResult result;
  result.parameter_count = size.parameters;
  result.tensor_bytes = size.bytes;
  result.config = plan.config;
  result.architecture = gguf ? gguf_architecture(plan) : folder_architecture(plan);
  result.context_length = context_length(plan);
  result.notes = export_notes(plan, tensors, request);
  const std::string config = gguf ? "" : config_json(model, plan, request);
  const std::string header = gguf ? gguf_header(plan, tensors, request) : "";
  if (gguf) {
    for (std::string& note : gguf_tokenizer_notes(request.source_folder)) result.notes.push_back(std::move(note));
  }

  FolderWriter folder(request.out_folder);
  folder.require_space(size.bytes);
  WeightsStream stream(folder, size.bytes, on_progress, cancel);
  if (gguf) {
    write_gguf(folder, stream, header, tensors);
  } else {
    folder.add_file("config.json", config);
    for (const PythonFile& file : python_files(plan)) folder.add_file(file.name, file.text);
    copy_files(folder, request.source_folder, kCompanions);
    const bool stock = plan.form == ExportForm::kPadded || plan.form == ExportForm::kMasked;
    write_safetensors(folder, stream, tensors, stock && architecture_of(plan.config).fused, request.shard_bytes_max);
  }
  copy_files(folder, request.source_folder, kLicences);
  folder.add_file("README.md", export_readme(request.model_card, plan, result.notes));
  folder.publish();

  result.files = folder.files();
  for (const ExportedFile& file : result.files) result.total_bytes += file.size_bytes;
  return result;
}

}  // namespace espalier

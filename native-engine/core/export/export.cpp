#include "espalier/export.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "export/export_config.h"
#include "export/export_plan.h"
#include "export/export_readme.h"
#include "export/export_tensors.h"
#include "export/folder_writer.h"
#include "files/json_reader.h"
#include "files/mapped_file.h"
#include "files/number_formats.h"
#include "files/safetensors.h"
#include "model/weights_digest.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

// Files that a tokenizer or a text generator reads besides the weights. Licences are copied too, since they cover the weights.
constexpr const char* kCompanions[] = {"generation_config.json",
                                       "tokenizer.json",
                                       "tokenizer_config.json",
                                       "special_tokens_map.json",
                                       "added_tokens.json",
                                       "tokenizer.model",
                                       "vocab.json",
                                       "merges.txt",
                                       "chat_template.jinja",
                                       "chat_template.json",
                                       "LICENSE",
                                       "LICENSE.txt",
                                       "LICENSE.md",
                                       "NOTICE",
                                       "NOTICE.txt",
                                       "USE_POLICY.md"};

struct Shard {
  std::string name;
  std::vector<const ExportTensor*> tensors;
  uint64_t size_bytes = 0;
};

uint64_t stored_bytes(const ExportTensor& t) { return t.elements() * element_bytes(t.dtype); }

std::string numbered(size_t value) {
  const std::string digits = std::to_string(value);
  return std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits;
}

// In order, a new file whenever the next tensor would not fit.
std::vector<Shard> cut_into_shards(const std::vector<ExportTensor>& tensors, uint64_t shard_bytes_max) {
  std::vector<Shard> shards(1);
  for (const ExportTensor& t : tensors) {
    if (!shards.back().tensors.empty() && shards.back().size_bytes + stored_bytes(t) > shard_bytes_max) shards.emplace_back();
    shards.back().tensors.push_back(&t);
    shards.back().size_bytes += stored_bytes(t);
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    shards[i].name =
        shards.size() == 1 ? "model.safetensors" : "model-" + numbered(i + 1) + "-of-" + numbered(shards.size()) + ".safetensors";
  }
  return shards;
}

TensorType stored_type(DType dtype) {
  return dtype == DType::kF32 ? TensorType::kF32 : dtype == DType::kF16 ? TensorType::kF16 : TensorType::kBF16;
}

class WeightsWriter {
 public:
  WeightsWriter(FolderWriter& folder, uint64_t total_bytes, const std::function<void(double)>& on_progress, const std::atomic<bool>& cancel)
      : folder_(folder), total_bytes_(total_bytes), on_progress_(on_progress), cancel_(cancel) {}

  void write_shard(const Shard& shard) {
    std::vector<TensorSpec> specs;
    for (const ExportTensor* t : shard.tensors) specs.push_back({t->name, stored_type(t->dtype), t->shape()});
    folder_.begin_file(shard.name);
    const std::string header = safetensors_header(specs, {{"format", "pt"}});
    folder_.write(header.data(), header.size());
    for (const ExportTensor* t : shard.tensors) write_tensor(*t);
    folder_.end_file();
  }

 private:
  static constexpr uint64_t kReportBytes = 16 << 20;

  void write_tensor(const ExportTensor& t) {
    std::vector<float> row(t.cols.size());
    std::vector<uint8_t> encoded(t.cols.size() * element_bytes(t.dtype));
    for (size_t r = 0; r < t.rows.size(); ++r) {
      t.read_row(static_cast<int64_t>(r), scratch_, row);
      for (size_t c = 0; c < row.size(); ++c) {
        // Only f16 has a range that trained weights can leave; infinity would poison the model silently.
        if (t.dtype == DType::kF16 && std::isfinite(row[c]) && std::fabs(row[c]) >= 65520.0f) {
          throw Error(ErrorCode::kInvalidArgument, "dtype",
                      "tensor " + t.name + " holds a value beyond the range of f16: export as bf16 or f32");
        }
        encode(row[c], t.dtype, encoded.data() + c * element_bytes(t.dtype));
      }
      folder_.write(encoded.data(), encoded.size());
      account(encoded.size());
    }
  }

  void account(uint64_t size_bytes) {
    done_bytes_ += size_bytes;
    if (done_bytes_ < next_report_bytes_) return;
    next_report_bytes_ = done_bytes_ + kReportBytes;
    if (cancel_.load()) throw Error(ErrorCode::kCancelled, "", "the export was cancelled; nothing was left behind");
    if (on_progress_) on_progress_(static_cast<double>(done_bytes_) / static_cast<double>(total_bytes_));
  }

  FolderWriter& folder_;
  uint64_t total_bytes_, done_bytes_ = 0, next_report_bytes_ = 0;
  const std::function<void(double)>& on_progress_;
  const std::atomic<bool>& cancel_;
  std::vector<float> scratch_;
};

std::string index_json(const std::vector<Shard>& shards, uint64_t weight_bytes) {
  nlohmann::ordered_json map = nlohmann::ordered_json::object();
  for (const Shard& shard : shards) {
    for (const ExportTensor* t : shard.tensors) map.push_back({t->name, shard.name});
  }
  return nlohmann::ordered_json{{"metadata", {{"total_size", weight_bytes}}}, {"weight_map", map}}.dump(2) + "\n";
}

std::string config_json(const ModelWeights& model, const ExportPlan& plan, const ExportRequest& request) {
  std::string source;
  if (!request.source_folder.empty()) {
    source = read_text_file(request.source_folder + "/config.json", 16 << 20, ErrorCode::kModelNotFound, "config.json");
  }
  const std::string text = export_config_json(source, model.config(), plan, request.dtype);
  const ModelConfig read_back = parse_model_config(text);
  if (read_back.hidden_size != plan.config.hidden_size || read_back.layers.size() != plan.config.layers.size() ||
      read_back.tied_embeddings != plan.config.tied_embeddings) {
    throw Error(ErrorCode::kInvalidArgument, "source_folder", "config.json in " + request.source_folder + " is not that of the model");
  }
  return text;
}

}  // namespace

ExportResult export_model(const ModelWeights& model, const TrainState* state, const Masks& masks, const ExportRequest& request,
                          const std::function<void(double)>& on_progress, const std::atomic<bool>& cancel) {
  const ExportPlan plan = plan_export(model.config(), masks, request.form);
  const std::vector<ExportTensor> tensors = export_tensors(model, state, plan, request.dtype);
  const std::vector<Shard> shards = cut_into_shards(tensors, request.shard_bytes_max);
  ExportResult result;
  uint64_t weight_bytes = 0;
  for (const ExportTensor& t : tensors) {
    result.parameter_count += t.elements();
    weight_bytes += stored_bytes(t);
  }
  const std::string config = config_json(model, plan, request);

  FolderWriter folder(request.out_folder);
  folder.require_space(weight_bytes);
  folder.add_file("config.json", config);
  for (const char* name : kCompanions) {
    const std::string path = request.source_folder + "/" + name;
    std::error_code ec;
    if (!request.source_folder.empty() && fs::is_regular_file(path, ec)) folder.copy_file(path, name);
  }
  WeightsWriter writer(folder, weight_bytes, on_progress, cancel);
  for (const Shard& shard : shards) writer.write_shard(shard);
  if (shards.size() > 1) folder.add_file("model.safetensors.index.json", index_json(shards, weight_bytes));
  folder.add_file("README.md", export_readme(request.model_card, plan));
  folder.publish();

  result.files = folder.files();
  for (const ExportedFile& file : result.files) result.total_bytes += file.size_bytes;
  result.config = plan.config;
  return result;
}

}  // namespace espalier

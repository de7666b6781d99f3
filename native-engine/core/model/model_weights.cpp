#include "espalier/model/model_weights.h"

#include <sys/stat.h>

#include <map>
#include <set>
#include <vector>

#include "files/json_reader.h"
#include "files/mapped_file.h"
#include "files/safetensors.h"
#include "model/architecture.h"
#include "model/gguf_weights.h"
#include "model/tensor_names.h"
#include "model/weight_table.h"

namespace espalier {

const std::array<const char*, kProjectionCount> kProjectionNames = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"};

namespace {

constexpr size_t kConfigBytesMax = 16 << 20;
constexpr size_t kIndexBytesMax = 64 << 20;
constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

// Tells whether a file exists. A link to a missing file counts as existing; opening it reports the error.
bool exists(const std::string& path) {
  struct stat info{};
  return ::lstat(path.c_str(), &info) == 0;
}

// All tensors of a folder by name, and the mappings that hold them.
class TensorFolder {
 public:
  TensorFolder(const std::string& folder, const std::atomic<bool>& cancel) : folder_(folder) {
    if (exists(folder + "/" + kSingleFile)) {
      add_file(kSingleFile, nullptr, cancel);
    } else if (exists(folder + "/" + kIndexFile)) {
      add_shards(cancel);
    } else {
      throw Error(ErrorCode::kModelNotFound, "model", "no " + std::string(kSingleFile) + " or " + kIndexFile + " in " + folder);
    }
  }

  bool has(const std::string& name) const { return tensors_.contains(name); }

  // Returns the tensor as a matrix of exactly this shape; rows == 0 means a vector of `cols`.
  WeightView take(const std::string& name, int64_t rows, int64_t cols) {
    const auto it = tensors_.find(name);
    if (it == tensors_.end()) {
      throw Error(ErrorCode::kModelCorrupt, "model:" + name,
                  "tensor " + name + " is missing in " + folder_ + "; its shape would be " + expected_text(rows, cols));
    }
    const auto& [file, tensor] = it->second;
    const std::vector<int64_t> expected = rows == 0 ? std::vector<int64_t>{cols} : std::vector<int64_t>{rows, cols};
    if (tensor.shape != expected) {
      throw Error(
          ErrorCode::kModelCorrupt, file + ":" + name,
          file + ": tensor " + name + " has shape " + shape_text(tensor.shape) + "; config.json asks for " + expected_text(rows, cols));
    }
    used_.insert(name);
    return {tensor.bytes.data(), dtype_of(file, name, tensor.type), rows == 0 ? 1 : rows, cols};
  }

  // Refuses tensors that no layer reads: without them the engine would compute another model than the one in the file.
  void refuse_unused(const std::set<std::string>& ignorable) const {
    for (const auto& [name, entry] : tensors_) {
      if (used_.contains(name) || ignorable.contains(name) || name.ends_with(".rotary_emb.inv_freq")) continue;
      throw Error(ErrorCode::kModelUnsupported, entry.first + ":" + name.substr(0, 200),
                  entry.first + ": tensor " + json_excerpt(Json(name)) + " has no place in this architecture");
    }
  }

 private:
  static std::string expected_text(int64_t rows, int64_t cols) {
    return rows == 0 ? "[" + std::to_string(cols) + "]" : "[" + std::to_string(rows) + ", " + std::to_string(cols) + "]";
  }

  static DType dtype_of(const std::string& file, const std::string& name, TensorType type) {
    switch (type) {
      case TensorType::kF32:
        return DType::kF32;
      case TensorType::kF16:
        return DType::kF16;
      case TensorType::kBF16:
        return DType::kBF16;
      default:
        throw Error(ErrorCode::kModelUnsupported, file + ":" + name,
                    file + ": tensor " + name + " is " + tensor_type_name(type) + "; supported are F32, F16, BF16");
    }
  }

  // Adds the tensors of one file. With `wanted`, it adds only those tensors, all of which must exist.
  void add_file(const std::string& file, const std::vector<std::string>* wanted, const std::atomic<bool>& cancel) {
    files_.emplace_back(folder_ + "/" + file, ErrorCode::kModelNotFound, file);
    Safetensors content = parse_safetensors(files_.back().bytes(), ErrorCode::kModelCorrupt, file, cancel);
    if (wanted == nullptr) {
      for (auto& [name, view] : content.tensors) tensors_.emplace(name, std::pair(file, std::move(view)));
      return;
    }
    for (const std::string& name : *wanted) {
      const auto it = content.tensors.find(name);
      if (it == content.tensors.end()) {
        throw Error(ErrorCode::kModelCorrupt, std::string(kIndexFile) + ":" + name.substr(0, 200),
                    std::string(kIndexFile) + " places tensor " + json_excerpt(Json(name)) + " in " + file + ", which does not hold it");
      }
      tensors_.emplace(name, std::pair(file, std::move(it->second)));
    }
  }

  void add_shards(const std::atomic<bool>& cancel) {
    const std::string text = read_text_file(folder_ + "/" + kIndexFile, kIndexBytesMax, ErrorCode::kModelNotFound, kIndexFile);
    const Json document = parse_json(text, ErrorCode::kModelCorrupt, kIndexFile, kTableLimits, cancel);
    const JsonObject index(document, kIndexFile, ErrorCode::kModelCorrupt);
    const Json* map = index.find("weight_map");
    if (map == nullptr || !map->is_object() || map->empty()) {
      index.fail("weight_map", "must be an object that maps each tensor to its file");
    }
    std::map<std::string, std::vector<std::string>> names_of_file;
    for (const auto& [name, file] : map->items()) {
      // The index comes with the model, so its names must not lead out of the folder.
      const std::string shard = file.is_string() ? file.get<std::string>() : "";
      if (!shard.ends_with(".safetensors") || shard.find('/') != std::string::npos || shard.find('\0') != std::string::npos) {
        index.fail("weight_map",
                   "places a tensor in " + json_excerpt(file) + ": it must be the plain name of a .safetensors file in the same folder");
      }
      names_of_file[shard].push_back(name);
    }
    for (const auto& [file, names] : names_of_file) add_file(file, &names, cancel);
  }

  std::string folder_;
  std::vector<MappedFile> files_;
  std::map<std::string, std::pair<std::string, TensorView>> tensors_;
  std::set<std::string> used_;
};

class LoadedModel final : public WeightTable {
 public:
  LoadedModel(const std::string& folder, ModelConfig config, const std::atomic<bool>& cancel)
      : WeightTable(std::move(config)), tensors_(folder, cancel) {
    const ModelConfig& c = config_;
    embedding_ = tensors_.take(kEmbeddingName, c.vocab_size, c.hidden_size);
    final_norm_ = tensors_.take(kFinalNormName, 0, c.hidden_size);
    lm_head_ = c.tied_embeddings ? embedding_ : tensors_.take(kLmHeadName, c.vocab_size, c.hidden_size);
    for (int64_t l = 0; l < c.layer_count; ++l) layers_.push_back(take_layer(l));
    tensors_.refuse_unused({kLmHeadName});  // a tied model may still store its head
  }

 private:
  LayerWeights take_layer(int64_t l) {
    const LayerShape& shape = config_.layers[static_cast<size_t>(l)];
    LayerWeights out;
    const bool heads = shape.heads > 0, units = shape.intermediate > 0;
    if (config_.pre_norms) {
      out.attention_norm = take_norm(input_norm_name(l), heads);
      out.mlp_norm = take_norm(mlp_norm_name(config_, l), units);
    }
    if (config_.post_norms) {
      out.post_attention_norm = take_norm(post_attention_norm_name(l), heads);
      out.post_mlp_norm = take_norm(post_mlp_norm_name(l), units);
    }
    take_fused(out, fused_qkv_name(l), shape, kQ, 3);
    take_fused(out, fused_gate_up_name(l), shape, kGate, 2);
    for (int p = 0; p < kProjectionCount; ++p) {
      const Extent extent = projection_extent(config_, shape, p);
      if (extent.rows == 0 || extent.cols == 0 || out.proj[static_cast<size_t>(p)]) continue;
      out.proj[static_cast<size_t>(p)] = tensors_.take(projection_name(l, p), extent.rows, extent.cols);
      if (config_.qkv_bias && p <= kV) {
        out.qkv_bias[static_cast<size_t>(p)] = tensors_.take(projection_bias_name(l, p), 0, extent.rows);
      }
    }
    for (const bool key : {false, true})
      if (config_.head_norms && shape.heads > 0) {
        out.head_norm[key] = tensors_.take(head_norm_name(l, key), 0, head_norm_size(config_, key ? shape.kv_heads : shape.heads));
      }
    return out;
  }

  // Reads a norm. A norm without a block behind it may be absent, since some loaders refuse it.
  WeightView take_norm(const std::string& name, bool needed) {
    return needed || tensors_.has(name) ? tensors_.take(name, 0, config_.hidden_size) : WeightView{};
  }

  // Reads projections of one input from one tensor in which their rows lie one below the other, if the folder has it.
  void take_fused(LayerWeights& out, const std::string& name, const LayerShape& shape, int first, int count) {
    if (!architecture_of(config_).fused || !tensors_.has(name)) return;
    int64_t rows = 0;
    for (int p = first; p < first + count; ++p) rows += projection_extent(config_, shape, p).rows;
    const WeightView all = tensors_.take(name, rows, config_.hidden_size);
    int64_t row = 0;
    for (int p = first; p < first + count; ++p) {
      const int64_t own = projection_extent(config_, shape, p).rows;
      const auto* data = static_cast<const uint8_t*>(all.data) + static_cast<uint64_t>(row * all.cols) * element_bytes(all.dtype);
      out.proj[static_cast<size_t>(p)] = {data, all.dtype, own, all.cols};
      row += own;
    }
  }

  TensorFolder tensors_;
};

}  // namespace

std::shared_ptr<const ModelWeights> load_model(const std::string& folder, const std::atomic<bool>& cancel) {
  struct stat info{};
  if (::stat(folder.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    throw Error(ErrorCode::kModelNotFound, "model", "no folder " + folder);
  }
  if (!exists(folder + "/config.json") && exists(folder + "/" + kGgufFileName)) return load_gguf(folder + "/" + kGgufFileName);
  const std::string text = read_text_file(folder + "/config.json", kConfigBytesMax, ErrorCode::kModelNotFound, "config.json");
  return std::make_shared<LoadedModel>(folder, parse_model_config(text), cancel);
}

}  // namespace espalier

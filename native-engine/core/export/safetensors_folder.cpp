#include "export/safetensors_folder.h"

#include <nlohmann/json.hpp>

#include "files/safetensors.h"

namespace espalier {
namespace {

struct Shard {
  std::string name;
  std::vector<const ExportTensor*> tensors;
  uint64_t size_bytes = 0;
};

std::string numbered(size_t value) {
  const std::string digits = std::to_string(value);
  return std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits;
}

// In order, a new file whenever the next tensor would not fit.
std::vector<Shard> cut_into_shards(const std::vector<ExportTensor>& tensors, uint64_t shard_bytes_max) {
  std::vector<Shard> shards(1);
  for (const ExportTensor& t : tensors) {
    if (!shards.back().tensors.empty() && shards.back().size_bytes + t.stored_bytes() > shard_bytes_max) shards.emplace_back();
    shards.back().tensors.push_back(&t);
    shards.back().size_bytes += t.stored_bytes();
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    shards[i].name =
        shards.size() == 1 ? "model.safetensors" : "model-" + numbered(i + 1) + "-of-" + numbered(shards.size()) + ".safetensors";
  }
  return shards;
}

TensorType tensor_type(StoredType type) {
  return type == StoredType::kF32 ? TensorType::kF32 : type == StoredType::kF16 ? TensorType::kF16 : TensorType::kBF16;
}

std::string index_json(const std::vector<Shard>& shards) {
  uint64_t weight_bytes = 0;
  for (const Shard& shard : shards) weight_bytes += shard.size_bytes;
  nlohmann::ordered_json map = nlohmann::ordered_json::object();
  for (const Shard& shard : shards) {
    for (const ExportTensor* t : shard.tensors) map.push_back({t->name, shard.name});
  }
  return nlohmann::ordered_json{{"metadata", {{"total_size", weight_bytes}}}, {"weight_map", map}}.dump(2) + "\n";
}

}  // namespace

void write_safetensors(FolderWriter& folder, WeightsStream& stream, const std::vector<ExportTensor>& tensors, uint64_t shard_bytes_max) {
  const std::vector<Shard> shards = cut_into_shards(tensors, shard_bytes_max);
  for (const Shard& shard : shards) {
    std::vector<TensorSpec> specs;
    for (const ExportTensor* t : shard.tensors) specs.push_back({t->name, tensor_type(t->type), t->shape()});
    folder.begin_file(shard.name);
    const std::string header = safetensors_header(specs, {{"format", "pt"}});
    folder.write(header.data(), header.size());
    for (const ExportTensor* t : shard.tensors) stream.write(*t);
    folder.end_file();
  }
  if (shards.size() > 1) folder.add_file("model.safetensors.index.json", index_json(shards));
}

}  // namespace espalier

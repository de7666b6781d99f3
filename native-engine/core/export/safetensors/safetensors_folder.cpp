#include "export/safetensors/safetensors_folder.h"

#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "files/safetensors.h"

namespace espalier {
namespace {

// A tensor of the file: one of the export's tensors, or several of one input whose rows lie one below the other.
struct Entry {
  std::string name;
  std::vector<const ExportTensor*> parts;
  uint64_t size_bytes = 0;

  std::vector<int64_t> shape() const {
    std::vector<int64_t> out = parts.front()->shape();
    for (size_t i = 1; i < parts.size(); ++i) out[0] += parts[i]->shape()[0];
    return out;
  }
};

struct Shard {
  std::string name;
  std::vector<Entry> entries;
  uint64_t size_bytes = 0;
};

std::string numbered(size_t value) {
  const std::string digits = std::to_string(value);
  return std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits;
}

constexpr std::array<std::pair<const char*, const char*>, 5> kFused = {{{"self_attn.q_proj", "self_attn.qkv_proj"},
                                                                        {"self_attn.k_proj", "self_attn.qkv_proj"},
                                                                        {"self_attn.v_proj", "self_attn.qkv_proj"},
                                                                        {"mlp.gate_proj", "mlp.gate_up_proj"},
                                                                        {"mlp.up_proj", "mlp.gate_up_proj"}}};

// Returns the name of the tensor that holds a projection in files with fused ones; any other tensor keeps its name.
std::string fused_name(std::string name) {
  for (const auto& [own, fused] : kFused)
    if (const size_t at = name.find(own); at != std::string::npos) return name.replace(at, std::string(own).size(), fused);
  return name;
}

// Joins the projections of one tensor, which follow each other in every export.
std::vector<Entry> entries_of(const std::vector<ExportTensor>& tensors, bool fused) {
  std::vector<Entry> entries;
  for (const ExportTensor& t : tensors) {
    const std::string name = fused ? fused_name(t.name) : t.name;
    if (entries.empty() || entries.back().name != name) entries.push_back({name, {}, 0});
    entries.back().parts.push_back(&t);
    entries.back().size_bytes += t.stored_bytes();
  }
  return entries;
}

// Divides the entries in order; a new file begins whenever the next tensor would not fit.
std::vector<Shard> cut_into_shards(const std::vector<Entry>& entries, uint64_t shard_bytes_max) {
  std::vector<Shard> shards(1);
  for (const Entry& e : entries) {
    if (!shards.back().entries.empty() && shards.back().size_bytes + e.size_bytes > shard_bytes_max) shards.emplace_back();
    shards.back().entries.push_back(e);
    shards.back().size_bytes += e.size_bytes;
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
    for (const Entry& e : shard.entries) map.push_back({e.name, shard.name});
  }
  return nlohmann::ordered_json{{"metadata", {{"total_size", weight_bytes}}}, {"weight_map", map}}.dump(2) + "\n";
}

}  // namespace

void write_safetensors(FolderWriter& folder, WeightsStream& stream, const std::vector<ExportTensor>& tensors, bool fused,
                       uint64_t shard_bytes_max) {
  const std::vector<Shard> shards = cut_into_shards(entries_of(tensors, fused), shard_bytes_max);
  for (const Shard& shard : shards) {
    std::vector<TensorSpec> specs;
    for (const Entry& e : shard.entries) specs.push_back({e.name, tensor_type(e.parts.front()->type), e.shape()});
    folder.begin_file(shard.name);
    const std::string header = safetensors_header(specs, {{"format", "pt"}});
    folder.write(header.data(), header.size());
    for (const Entry& e : shard.entries)
      for (const ExportTensor* t : e.parts) stream.write(*t);
    folder.end_file();
  }
  if (shards.size() > 1) folder.add_file("model.safetensors.index.json", index_json(shards));
}

}  // namespace espalier

#include "export/layer_layout.h"

#include <algorithm>
#include <map>

namespace espalier {
namespace {

// Groups the query heads of the layer by the key/value head of the source that they read.
std::map<int64_t, std::vector<int64_t>> groups_of(const KeptLayer& layer, const LayerShape& shape) {
  std::map<int64_t, std::vector<int64_t>> groups;
  for (size_t h = 0; h < layer.heads.size(); ++h) {
    groups[layer.kv_heads[static_cast<size_t>(shape.kv_head_of_query[h])]].push_back(layer.heads[h]);
  }
  return groups;
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t kv_heads_needed(const std::map<int64_t, std::vector<int64_t>>& groups, int64_t queries_each) {
  int64_t count = 0;
  for (const auto& [kv, heads] : groups) count += ceil_div(static_cast<int64_t>(heads.size()), queries_each);
  return count;
}

HeadGrid smallest(const std::vector<std::map<int64_t, std::vector<int64_t>>>& layers, int64_t kv_heads_min) {
  int64_t widest = 1;
  for (const auto& groups : layers) {
    for (const auto& [kv, heads] : groups) widest = std::max(widest, static_cast<int64_t>(heads.size()));
  }
  HeadGrid best;
  // For each head, the query and output projections are as large as those of keys and values. Among equal sizes, the one with fewer keys
  // and values is chosen.
  for (int64_t each = 1; each <= widest; ++each) {
    HeadGrid grid{each, kv_heads_min};
    for (const auto& groups : layers) grid.kv_heads = std::max(grid.kv_heads, kv_heads_needed(groups, each));
    if (each == 1 || grid.heads() + grid.kv_heads <= best.heads() + best.kv_heads) best = grid;
  }
  return best;
}

}  // namespace

HeadGrid smallest_grid(const KeptLayer& layer, const LayerShape& shape) { return smallest({groups_of(layer, shape)}, 0); }

HeadGrid smallest_common_grid(const std::vector<KeptLayer>& layers, const std::vector<LayerShape>& shapes) {
  std::vector<std::map<int64_t, std::vector<int64_t>>> groups;
  for (size_t l = 0; l < layers.size(); ++l) groups.push_back(groups_of(layers[l], shapes[l]));
  return smallest(groups, 1);
}

void lay_out_heads(KeptLayer& layer, LayerShape& shape, const HeadGrid& grid) {
  std::vector<int64_t> heads, kv_heads;
  for (const auto& [kv, members] : groups_of(layer, shape)) {
    for (size_t first = 0; first < members.size(); first += static_cast<size_t>(grid.queries_each)) {
      const size_t end = std::min(members.size(), first + static_cast<size_t>(grid.queries_each));
      heads.insert(heads.end(), members.begin() + static_cast<int64_t>(first), members.begin() + static_cast<int64_t>(end));
      kv_heads.push_back(kv);
      pad_to(heads, static_cast<int64_t>(kv_heads.size()) * grid.queries_each);
    }
  }
  pad_to(heads, grid.heads());
  pad_to(kv_heads, grid.kv_heads);
  layer.heads = std::move(heads);
  layer.kv_heads = std::move(kv_heads);
  shape.heads = grid.heads();
  shape.kv_heads = grid.kv_heads;
  shape.kv_head_of_query.clear();
  for (int64_t h = 0; h < grid.heads(); ++h) shape.kv_head_of_query.push_back(static_cast<int32_t>(h / grid.queries_each));
}

void pad_to(std::vector<int64_t>& parts, int64_t width) {
  if (static_cast<int64_t>(parts.size()) < width) parts.resize(static_cast<size_t>(width), kZeros);
}

int64_t rounded_width(int64_t width, int64_t multiple_of, int64_t limit) {
  return std::max(width, std::min(limit, ceil_div(width, multiple_of) * multiple_of));
}

}  // namespace espalier

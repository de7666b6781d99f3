// Lays the kept parts of layers out as a container reads them: query heads that share a key/value head side by side, in groups of
// one size, with zeros or repeated key/value heads where the masks left the groups uneven.
#pragma once
#include <cstdint>
#include <vector>

#include "export/export_plan.h"

namespace espalier {

// Each container reads `kv_heads` groups of `queries_each` query heads, one after the other.
struct HeadGrid {
  int64_t queries_each = 1;
  int64_t kv_heads = 0;
  int64_t heads() const { return queries_each * kv_heads; }
};

// The smallest grid that holds the layer's query heads; no group is repeated where zeros are cheaper.
HeadGrid smallest_grid(const KeptLayer& layer, const LayerShape& shape);

// The smallest grid that holds every one of the layers, and at least one head.
HeadGrid smallest_common_grid(const std::vector<KeptLayer>& layers, const std::vector<LayerShape>& shapes);

// Lays the layer's heads out on the grid, which must hold them.
void lay_out_heads(KeptLayer& layer, LayerShape& shape, const HeadGrid& grid);

// Fills up with zeros to `width`.
void pad_to(std::vector<int64_t>& parts, int64_t width);

// `width` rounded up to a multiple, to `limit` at most.
int64_t rounded_width(int64_t width, int64_t multiple_of, int64_t limit);

}  // namespace espalier

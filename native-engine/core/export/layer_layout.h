// Lays the kept parts of layers out in the form that a container reads: query heads that share a key/value head lie side by side, in groups
// of one size. Where the masks left the groups uneven, zeros or repeated key/value heads fill them up.
#pragma once
#include <cstdint>
#include <vector>

#include "export/export_plan.h"

namespace espalier {

// A grid of `kv_heads` groups, one after the other, each with `queries_each` query heads. Every container reads heads in this form.
struct HeadGrid {
  int64_t queries_each = 1;
  int64_t kv_heads = 0;
  int64_t heads() const { return queries_each * kv_heads; }
};

// Returns the smallest grid that holds the layer's query heads. No group is repeated where zeros are cheaper.
HeadGrid smallest_grid(const KeptLayer& layer, const LayerShape& shape);

// Returns the smallest grid that holds every one of the layers, and at least one head.
HeadGrid smallest_common_grid(const std::vector<KeptLayer>& layers, const std::vector<LayerShape>& shapes);

// Lays the layer's heads out on the grid, which must be able to hold them.
void lay_out_heads(KeptLayer& layer, LayerShape& shape, const HeadGrid& grid);

// Fills the list up to `width` with zeros.
void pad_to(std::vector<int64_t>& parts, int64_t width);

// Returns `width` rounded up to a multiple, but at most `limit`.
int64_t rounded_width(int64_t width, int64_t multiple_of, int64_t limit);

}  // namespace espalier

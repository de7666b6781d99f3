// What an export keeps of a model, decided from the masks alone.
#pragma once
#include <cstdint>
#include <vector>

#include "espalier/export.h"

namespace espalier {

struct KeptLayer {
  std::vector<int64_t> heads;     // query heads of the source, ascending
  std::vector<int64_t> kv_heads;  // key/value heads that the kept query heads read
  std::vector<int64_t> units;     // intermediate units
};

struct ExportPlan {
  bool compacted = false;
  Masks masks;                    // full size: [L, H], [L, I], [D]; ones where the caller gave none
  std::vector<int64_t> hidden;    // kept hidden units, ascending
  std::vector<KeptLayer> layers;  // [L]
  double norm_scale = 1.0;        // sqrt(D / D'): RMSNorm divides by fewer units, the closed ones were zeros
  bool hidden_folded = false;     // a hidden mask differs from 1: lm_head can no longer be the embedding
  ModelConfig config;             // of the exported model
};

// Throws Error(kInvalidArgument, "masks...") on sizes that do not fit, or on masks outside [0, 1].
ExportPlan plan_export(const ModelConfig& source, const Masks& masks, ExportForm form);

}  // namespace espalier

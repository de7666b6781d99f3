// The plan of an export: the parts of a model that it keeps, decided from the masks alone.
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
  // For each hidden unit of a tied model with a hidden mask; empty: 1. The mask scales the embedding's columns, which lm_head reads
  // too, so the last norm takes it back: lm_head sees (E z)(h / z). A closed unit's h is 0, whatever the factor.
  std::vector<float> final_norm_factor;
  ModelConfig config;  // of the exported model
};

// Throws Error(kInvalidArgument, "masks...") on sizes that do not fit, or on masks outside [0, 1].
ExportPlan plan_export(const ModelConfig& source, const Masks& masks, ExportForm form);

}  // namespace espalier

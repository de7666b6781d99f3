// The part of a model that an export keeps, which only the masks decide, and its layout.
#pragma once
#include <cstdint>
#include <vector>

#include "espalier/export/export.h"

namespace espalier {

// A position that no part of the source fills; its weights are zeros.
constexpr int64_t kZeros = -1;

// The parts of a source layer, in the order of the output.
struct KeptLayer {
  int64_t source = 0;             // the layer's number in the source
  std::vector<int64_t> heads;     // query heads of the source, or kZeros
  std::vector<int64_t> kv_heads;  // key/value heads of the source, or kZeros; a head may occur more than once
  std::vector<int64_t> units;     // intermediate units, or kZeros
};

struct ExportPlan {
  ExportContainer container = ExportContainer::kSafetensors;
  ExportForm form = ExportForm::kMasked;  // kPadded for a compacted folder whose layers came out alike
  Masks masks;                            // full size: [L, H], [L, I], [D]; ones where the caller gave none; empty for a compacted source
  std::vector<int64_t> hidden;            // kept hidden units, ascending, then kZeros
  std::vector<KeptLayer> layers;          // the layers of the output
  double norm_scale = 1.0;                // sqrt(D / D'): RMSNorm divides by fewer units, since the closed ones were zeros
  // One factor for each hidden unit of a tied model with a hidden mask; empty where all are 1. The mask scales the embedding's columns,
  // which lm_head reads too, so the last norm must undo the scale: lm_head computes (E z)(h / z). A closed unit's h is 0, whatever the
  // factor.
  std::vector<float> final_norm_factor;
  // The factors that are folded into the weights where the loader knows no multipliers.
  struct Folded {
    double embedding = 1, query = 1, normed_query = 1, addend = 1, final_norm = 1;
  };
  Folded folded;
  ModelConfig config;  // the config of the exported model
};

// Throws Error(kInvalidArgument, "masks...") where sizes do not fit or masks lie outside [0, 1]; the errors of check_export; and
// Error(kNotSupported, "masks" | "form") for a source that is already compacted and can only be written as it is.
ExportPlan plan_export(const ModelConfig& source, const Masks& masks, const ExportRequest& request);

// Returns the number of positions up to which the export equals the student: where the loader knows no sliding window, the length of one
// window.
int64_t context_length(const ExportPlan& plan);

// Tells whether all layers have the same widths and the usual grouping of query heads, as stock architectures need them.
bool is_uniform(const std::vector<LayerShape>& layers);

// Returns llama.cpp's name of the architecture: the one in the table of architectures, or "deci" for layers with different widths.
std::string gguf_architecture(const ExportPlan& plan);

}  // namespace espalier

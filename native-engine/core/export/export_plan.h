// The part of a model that an export keeps, decided from the masks alone, and its layout.
#pragma once
#include <cstdint>
#include <vector>

#include "espalier/export.h"

namespace espalier {

// A position that no part of the source fills: its weights are zeros.
constexpr int64_t kZeros = -1;

// Parts of a source layer in the order of the output.
struct KeptLayer {
  int64_t source = 0;             // the layer's number in the source
  std::vector<int64_t> heads;     // query heads of the source, or kZeros
  std::vector<int64_t> kv_heads;  // key/value heads of the source, or kZeros; a head may stand there more than once
  std::vector<int64_t> units;     // intermediate units, or kZeros
};

struct ExportPlan {
  ExportContainer container = ExportContainer::kSafetensors;
  ExportForm form = ExportForm::kMasked;  // kPadded for a compacted folder whose layers came out alike
  Masks masks;                            // full size: [L, H], [L, I], [D]; ones where the caller gave none; empty for a compacted source
  std::vector<int64_t> hidden;            // kept hidden units, ascending, then kZeros
  std::vector<KeptLayer> layers;          // of the output
  double norm_scale = 1.0;                // sqrt(D / D'): RMSNorm divides by fewer units, the closed ones were zeros
  // For each hidden unit of a tied model with a hidden mask; empty: 1. The mask scales the embedding's columns, which lm_head reads
  // too, so the last norm takes it back: lm_head sees (E z)(h / z). A closed unit's h is 0, whatever the factor.
  std::vector<float> final_norm_factor;
  // Factors that stand in the weights where the loader knows no multipliers.
  struct Folded {
    double embedding = 1, query = 1, normed_query = 1, addend = 1, final_norm = 1;
  };
  Folded folded;
  ModelConfig config;  // of the exported model
};

// Throws Error(kInvalidArgument, "masks...") on sizes that do not fit, or on masks outside [0, 1]; what check_export throws;
// Error(kNotSupported, "masks" | "form") for a source that is compacted already and can only be written as it is.
ExportPlan plan_export(const ModelConfig& source, const Masks& masks, const ExportRequest& request);

// Positions up to which the export is the student: where the loader knows no sliding window, those of one window.
int64_t context_length(const ExportPlan& plan);

// Whether all layers have the same widths and the usual grouping of query heads, as stock architectures ask.
bool is_uniform(const std::vector<LayerShape>& layers);

// llama.cpp's name: that of the table of architectures, or "deci" for layers with widths of their own.
std::string gguf_architecture(const ExportPlan& plan);

}  // namespace espalier

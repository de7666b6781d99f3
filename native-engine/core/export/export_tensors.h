// The tensors of an exported model: their shapes in advance, their values row by row on demand.
#pragma once
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "espalier/method/train_state.h"
#include "espalier/model/model_weights.h"
#include "export/export_plan.h"
#include "files/stored_type.h"

namespace espalier {

// One output tensor as a recipe over a tensor of the base model: rows and columns to keep, LoRA to add, factors to fold. Spans point into
// the plan, the state and the list that made them, which must outlive it.
struct ExportTensor {
  std::string name;
  StoredType type = StoredType::kBF16;
  bool vector = false;  // one dimension: [cols]
  WeightView base;
  std::vector<int64_t> rows, cols;                       // rows and columns of the base, or kZeros, in output order
  std::vector<float> row_factor;                         // for each base row; empty where all are 1
  std::vector<float> col_factor;                         // for each base column; empty where all are 1
  double factor = 1.0;                                   // a factor of all values
  double added_before = 0, added_after = 0;              // added to each value before and after the factors
  float limit = std::numeric_limits<float>::infinity();  // values beyond it are cut to it
  std::span<const float> lora_a, lora_b;                 // [r, base cols], [base rows, r]; empty where there is no LoRA
  int64_t lora_rank = 0;
  float lora_scale = 0;

  std::vector<int64_t> shape() const;
  uint64_t elements() const { return rows.size() * cols.size(); }
  uint64_t stored_bytes() const { return rows.size() * stored_row_bytes(type, cols.size()); }

  // Writes output row `index` in f32, [cols.size()]. `scratch` is resized to the base's columns.
  void read_row(int64_t index, std::vector<float>& scratch, std::span<float> out) const;
};

// Returns the tensors in canonical order, with the names and row orders of the plan's container: embedding, layers, final norm, and lm_head
// unless it is tied. Throws Error(kInvalidArgument, "state") when the state's LoRA does not fit the model.
std::vector<ExportTensor> export_tensors(const ModelWeights& model, const TrainState* state, const ExportPlan& plan, ExportDType dtype);

}  // namespace espalier

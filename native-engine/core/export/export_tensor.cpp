// Makes the values of an exported tensor, row by row.
#include <algorithm>

#include "export/export_tensors.h"
#include "files/number_formats.h"

namespace espalier {

static void decode_row(const WeightView& view, int64_t row, std::vector<float>& out) {
  out.resize(static_cast<size_t>(view.cols));
  const int64_t start = row * view.cols;
  for (int64_t i = 0; i < view.cols; ++i) out[static_cast<size_t>(i)] = decode(view.data, view.dtype, start + i);
}

std::vector<int64_t> ExportTensor::shape() const {
  const auto width = static_cast<int64_t>(cols.size());
  return vector ? std::vector<int64_t>{width} : std::vector<int64_t>{static_cast<int64_t>(rows.size()), width};
}

void ExportTensor::read_row(int64_t index, std::vector<float>& scratch, std::span<float> out) const {
  const int64_t row = rows[static_cast<size_t>(index)];
  if (row == kZeros || !base) {
    std::fill(out.begin(), out.end(), static_cast<float>(added_after));
    return;
  }
  decode_row(base, row, scratch);
  for (int64_t k = 0; k < lora_rank; ++k) {
    const float b = lora_scale * lora_b[static_cast<size_t>(row * lora_rank + k)];
    const float* a = lora_a.data() + k * base.cols;
    for (int64_t i = 0; i < base.cols; ++i) scratch[static_cast<size_t>(i)] += b * a[i];
  }
  // The row has one factor, in double, so that folding rounds only once.
  const double row_scale = factor * (row_factor.empty() ? 1.0 : static_cast<double>(row_factor[static_cast<size_t>(row)]));
  for (size_t i = 0; i < cols.size(); ++i) {
    if (cols[i] == kZeros) {
      out[i] = static_cast<float>(added_after);
      continue;
    }
    const auto col = static_cast<size_t>(cols[i]);
    const double scale = col_factor.empty() ? row_scale : row_scale * static_cast<double>(col_factor[col]);
    const auto value = static_cast<double>(scratch[col]);
    const bool shifted = added_before != 0 || added_after != 0;  // without a shift, a zero keeps its sign
    out[i] = std::clamp(static_cast<float>(shifted ? (value + added_before) * scale + added_after : value * scale), -limit, limit);
  }
}

}  // namespace espalier

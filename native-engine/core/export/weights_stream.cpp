#include "export/weights_stream.h"

#include <cmath>

#include "espalier/base/error.h"

namespace espalier {
namespace {

constexpr uint64_t kReportBytes = 16 << 20;
// The largest allowed change of a tensor by rounding, as a share of its length (the root of the sum of squares). Q8_0 changes a tensor by
// about a hundredth.
constexpr double kRoundingMax = 0.1;

// f16, and the scales of q8_0, have few exponents, so small numbers become zero. The other types have the exponents of f32.
bool has_few_exponents(StoredType type) { return type == StoredType::kF16 || type == StoredType::kQ8_0; }

const char* name_of(StoredType type) { return type == StoredType::kQ8_0 ? "q8_0" : "f16"; }

// Throws where rounding would change the tensor too much. A part of a tensor may vanish beside larger numbers, but a whole tensor must not.
void require_close(const ExportTensor& tensor, double squared_error, double squared_length) {
  if (squared_error <= kRoundingMax * kRoundingMax * squared_length) return;
  const int percent = static_cast<int>(std::lround(100 * std::sqrt(squared_error / squared_length)));
  throw Error(ErrorCode::kInvalidArgument, "dtype",
              "tensor " + tensor.name + " has numbers too small for " + name_of(tensor.type) + ": rounding would change it by " +
                  std::to_string(percent) + "%, at most 10% are allowed: export as bf16 or f32");
}

}  // namespace

void WeightsStream::write(const ExportTensor& tensor) {
  std::vector<float> row(tensor.cols.size());
  std::vector<uint8_t> encoded(stored_row_bytes(tensor.type, row.size()));
  double squared_length = 0, changed = 0;
  for (size_t r = 0; r < tensor.rows.size(); ++r) {
    tensor.read_row(static_cast<int64_t>(r), scratch_, row);
    if (!encode_row(row, tensor.type, encoded.data())) {
      throw Error(ErrorCode::kInvalidArgument, "dtype",
                  "tensor " + tensor.name + " holds a value beyond the range of f16: export as bf16 or f32");
    }
    if (has_few_exponents(tensor.type)) {
      for (const float value : row) squared_length += static_cast<double>(value) * static_cast<double>(value);
      changed += squared_error(row, tensor.type, encoded.data());
    }
    folder_.write(encoded.data(), encoded.size());
    account(encoded.size());
  }
  require_close(tensor, changed, squared_length);
}

void WeightsStream::account(uint64_t size_bytes) {
  done_bytes_ += size_bytes;
  if (done_bytes_ < next_report_bytes_) return;
  next_report_bytes_ = done_bytes_ + kReportBytes;
  if (cancel_.load()) throw Error(ErrorCode::kCancelled, "", "the export was cancelled; nothing was left behind");
  if (on_progress_) on_progress_(static_cast<double>(done_bytes_) / static_cast<double>(total_bytes_));
}

}  // namespace espalier

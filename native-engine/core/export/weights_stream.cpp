#include "export/weights_stream.h"

#include "espalier/error.h"

namespace espalier {
namespace {

constexpr uint64_t kReportBytes = 16 << 20;

}  // namespace

void WeightsStream::write(const ExportTensor& tensor) {
  std::vector<float> row(tensor.cols.size());
  std::vector<uint8_t> encoded(stored_row_bytes(tensor.type, row.size()));
  for (size_t r = 0; r < tensor.rows.size(); ++r) {
    tensor.read_row(static_cast<int64_t>(r), scratch_, row);
    if (!encode_row(row, tensor.type, encoded.data())) {
      throw Error(ErrorCode::kInvalidArgument, "dtype",
                  "tensor " + tensor.name + " holds a value beyond the range of f16: export as bf16 or f32");
    }
    folder_.write(encoded.data(), encoded.size());
    account(encoded.size());
  }
}

void WeightsStream::account(uint64_t size_bytes) {
  done_bytes_ += size_bytes;
  if (done_bytes_ < next_report_bytes_) return;
  next_report_bytes_ = done_bytes_ + kReportBytes;
  if (cancel_.load()) throw Error(ErrorCode::kCancelled, "", "the export was cancelled; nothing was left behind");
  if (on_progress_) on_progress_(static_cast<double>(done_bytes_) / static_cast<double>(total_bytes_));
}

}  // namespace espalier

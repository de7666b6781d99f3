// Writes the values of tensors into a folder's current file, row by row. It reports progress and stops on request.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "export/export_tensors.h"
#include "export/folder_writer.h"

namespace espalier {

class WeightsStream {
 public:
  WeightsStream(FolderWriter& folder, uint64_t total_bytes, const std::function<void(double)>& on_progress, const std::atomic<bool>& cancel)
      : folder_(folder), total_bytes_(total_bytes), on_progress_(on_progress), cancel_(cancel) {}

  // Throws Error(kInvalidArgument, "dtype") for a value beyond the range of f16, and Error(kCancelled).
  void write(const ExportTensor& tensor);

 private:
  void account(uint64_t size_bytes);

  FolderWriter& folder_;
  uint64_t total_bytes_, done_bytes_ = 0, next_report_bytes_ = 0;
  const std::function<void(double)>& on_progress_;
  const std::atomic<bool>& cancel_;
  std::vector<float> scratch_;
};

}  // namespace espalier

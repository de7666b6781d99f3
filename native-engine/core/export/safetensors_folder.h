// The safetensors of a Hugging Face folder, in one file or many with an index.
#pragma once
#include <vector>

#include "export/weights_stream.h"

namespace espalier {

void write_safetensors(FolderWriter& folder, WeightsStream& stream, const std::vector<ExportTensor>& tensors, uint64_t shard_bytes_max);

}  // namespace espalier

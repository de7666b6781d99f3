// Writes the safetensors of a Hugging Face folder, in one file or in many with an index.
#pragma once
#include <vector>

#include "export/weights_stream.h"

namespace espalier {

// fused: q, k and v go into one tensor, and so do gate and up, as in files of Phi3.
void write_safetensors(FolderWriter& folder, WeightsStream& stream, const std::vector<ExportTensor>& tensors, bool fused,
                       uint64_t shard_bytes_max);

}  // namespace espalier

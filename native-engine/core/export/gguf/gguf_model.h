// A GGUF file in llama.cpp's form: metadata, list of tensors, values.
#pragma once
#include <string>
#include <vector>

#include "export/export_plan.h"
#include "export/weights_stream.h"

namespace espalier {

// Returns all bytes before the values, including the tokenizer of the source folder. Throws Error(kNotSupported, "tokenizer.json...") for a
// tokenizer that has no equal in llama.cpp.
std::string gguf_header(const ExportPlan& plan, const std::vector<ExportTensor>& tensors, const ExportRequest& request);

void write_gguf(FolderWriter& folder, WeightsStream& stream, const std::string& header, const std::vector<ExportTensor>& tensors);

}  // namespace espalier

// Reads a model from a GGUF file of our own, to check an export. It knows the architectures `llama` and `deci`.
#pragma once
#include <memory>
#include <string>

#include "espalier/model/model_weights.h"

namespace espalier {

constexpr const char* kGgufFileName = "model.gguf";

// Throws Error(kModelNotFound | kModelCorrupt | kModelUnsupported, field, ...).
std::shared_ptr<const ModelWeights> load_gguf(const std::string& path);

}  // namespace espalier

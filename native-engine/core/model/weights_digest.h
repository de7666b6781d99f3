// The digest of a base model: SHA-256 over its configuration and its tensors in canonical order.
#pragma once
#include <functional>
#include <string>

#include "espalier/model/model_weights.h"

namespace espalier {

// Visits every tensor of the model once, in canonical order (embedding, layers, final norm, lm_head unless tied); absent tensors are
// skipped. `name` is the Hugging Face name.
void for_each_tensor(const ModelWeights& model, const std::function<void(const std::string& name, const WeightView&)>& visit);

// Throws Error(kWeightNotFinite, "model", ...) where a tensor holds NaN or an infinity, and Error(kCancelled).
std::string weights_digest(const ModelWeights& model, const std::atomic<bool>& cancel = kNeverCancelled);
uint64_t weights_bytes(const ModelWeights& model);

const char* dtype_name(DType dtype);  // "F32", "F16", "BF16"
uint64_t element_bytes(DType dtype);

}  // namespace espalier

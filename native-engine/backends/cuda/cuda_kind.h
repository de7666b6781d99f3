// The CUDA backend's entry in the registry: it answers questions that need no backend object.
#pragma once
#include "device/registry.h"

namespace espalier::cuda::ESPALIER_TARGET {

const BackendKind& cuda_kind();

}  // namespace espalier::cuda::ESPALIER_TARGET

// The CUDA backend's entry in the registry: it answers what can be asked before a backend is made.
#pragma once
#include "device/registry.h"

namespace espalier::cuda::ESPALIER_TARGET {

const BackendKind& cuda_kind();

}  // namespace espalier::cuda::ESPALIER_TARGET

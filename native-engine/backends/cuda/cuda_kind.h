// The program's knowledge of the CUDA backend before it makes one.
#pragma once
#include "device/registry.h"

namespace espalier::cuda::ESPALIER_TARGET {

const BackendKind& cuda_kind();

}  // namespace espalier::cuda::ESPALIER_TARGET

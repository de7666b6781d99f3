// The CPU backend's entry in the registry: it answers questions that need no backend object.
#pragma once
#include "device/registry.h"

namespace espalier::cpu {

const BackendKind& cpu_kind();

}  // namespace espalier::cpu

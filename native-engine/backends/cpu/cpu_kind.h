// The CPU backend's entry in the registry: it answers what can be asked before a backend is made.
#pragma once
#include "device/registry.h"

namespace espalier::cpu {

const BackendKind& cpu_kind();

}  // namespace espalier::cpu

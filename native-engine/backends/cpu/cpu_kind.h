// What the program knows of the CPU backend before it makes one.
#pragma once
#include "device/registry.h"

namespace espalier::cpu {

const BackendKind& cpu_kind();

}  // namespace espalier::cpu

// The one list of what is linked in. "auto" takes the first device that can be used.
#include "cpu/cpu_kind.h"

namespace espalier {

std::vector<const BackendKind*> compiled_backends() { return {&cpu::cpu_kind()}; }

}  // namespace espalier

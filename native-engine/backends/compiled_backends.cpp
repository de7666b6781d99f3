// The only list of the backends that are linked in. "auto" takes the first device of them that can be used.
#ifdef ESPALIER_WITH_CUDA
#include "cuda/cuda_kind.h"
#endif
#ifndef ESPALIER_WITHOUT_CPU
#include "cpu/cpu_kind.h"
#endif
#include "device/registry.h"

namespace espalier {

std::vector<const BackendKind*> compiled_backends() {
  return {
#ifdef ESPALIER_WITH_CUDA
      &cuda::gpu::cuda_kind(),
#endif
#ifndef ESPALIER_WITHOUT_CPU
      &cpu::cpu_kind(),
#endif
  };
}

}  // namespace espalier

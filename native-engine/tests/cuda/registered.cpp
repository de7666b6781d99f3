// Puts the CUDA backend among the devices of the tests: over the emulator, and where it was compiled for cards, as it is.
#include "cuda_emulator/emulated_kind.h"
#ifdef ESPALIER_WITH_CUDA
#include "cuda_kind.h"
#endif

namespace espalier::test {

[[maybe_unused]] static const bool emulated = (add_backend(emulated_cuda_kind()), true);
#ifdef ESPALIER_WITH_CUDA
[[maybe_unused]] static const bool real = (add_backend(cuda::cuda_kind()), true);
#endif

}  // namespace espalier::test

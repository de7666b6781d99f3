// Puts the emulated CUDA backend among the devices of the tests.
#include "cuda_emulator/emulated_kind.h"

namespace espalier::test {

[[maybe_unused]] static const bool registered = (add_backend(emulated_cuda_kind()), true);

}  // namespace espalier::test

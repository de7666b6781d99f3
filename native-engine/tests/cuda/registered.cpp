// Puts the CUDA backend over the emulator among the devices of the tests.
#include "cuda_emulator/emulated_kind.h"

namespace espalier::test {

[[maybe_unused]] static const bool emulated = (add_backend(emulated_cuda_kind()), true);

}  // namespace espalier::test

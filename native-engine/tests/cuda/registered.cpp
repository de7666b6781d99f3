// Puts the CUDA backend over the emulator among the devices of the tests: last, and first of all as the card of a rehearsal.
#include "cuda_emulator/emulated_kind.h"

namespace espalier::test {

#ifdef ESPALIER_REHEARSAL
[[maybe_unused]] static const bool rehearsed = (add_backend(rehearsed_cuda_kind()), true);
#endif
[[maybe_unused]] static const bool emulated = (add_backend(emulated_cuda_kind()), true);

}  // namespace espalier::test

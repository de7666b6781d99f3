// Adds the CUDA backend on the emulator to the devices of the tests. A rehearsal of the check of a card (tools/gpu_check.sh) has the
// backends of that check: no processor, and the emulated card under the name of the real one. Where ESPALIER_CUBLASLT is the stand-in for
// cuBLASLt, the rehearsal computes products of any size by it.
#include <cstdlib>
#include <string_view>

#include "cuda_emulator/emulated_kind.h"
#include "cuda_emulator/emulator.h"
#ifdef ESPALIER_STAND_IN_CUBLASLT  // the engine's emulated cards have none
#include "cuda/products/with_library.h"
#endif

namespace espalier::test {

namespace {

bool register_devices() {
#ifdef ESPALIER_REHEARSAL
  const bool is_rehearsal = true;
#else
  const bool is_rehearsal = std::getenv("ESPALIER_REHEARSAL") != nullptr;
#endif
  if (is_rehearsal) {
    set_backend_kinds({&rehearsed_cuda_kind()});
    // It has the instructions of an H100, so that the products' kernel for such cards can be rehearsed.
    cuda::emulated::Cards cards = cuda::emulated::list_cards();
    for (cuda::emulated::Card& card : cards.cards) card.major = 9, card.minor = 0;
    cuda::emulated::show_cards(std::move(cards));
#ifdef ESPALIER_STAND_IN_CUBLASLT
    const char* const library = std::getenv("ESPALIER_CUBLASLT");
    if (library && std::string_view(library) == kStandIn) {
      static WithLibrary stand_in;
    }
#endif
  }
  add_backend(emulated_cuda_kind());
  return true;
}

[[maybe_unused]] const bool registered = register_devices();

}  // namespace

}  // namespace espalier::test

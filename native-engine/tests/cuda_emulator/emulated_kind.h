// The CUDA backend on the emulator as a device for tests. "auto" never chooses it, and only the programs of the tests list it. There are
// four such cards.
#pragma once
#include "device/registry.h"

namespace espalier::test {

inline constexpr const char* kEmulatedCuda = "emulated";

// Returns the kind of the emulated cards. Its sets of kernels are the ways in which the device may behave: "early" in order, "late"
// permuted, "late:SEED" permuted in another way, "late-copies" and "late-ops" with only one of its two queues late. All of them give the
// same bits.
const BackendKind& emulated_cuda_kind();

// Returns the same kind under the names of real cards, "cuda:0" to "cuda:3". A rehearsal of the check of a card uses it.
const BackendKind& rehearsed_cuda_kind();

inline BackendSpec emulated_card(const std::string& behaviour, int number = 0) {
  BackendSpec spec;
  spec.name = kEmulatedCuda;
  spec.device = number;
  spec.kernels = behaviour;
  return spec;
}

}  // namespace espalier::test

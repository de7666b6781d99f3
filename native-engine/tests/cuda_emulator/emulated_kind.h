// The CUDA backend over the emulator as a device for tests: never "auto", and listed by no program but the tests'. There are four such
// cards.
#pragma once
#include "device/registry.h"

namespace espalier::test {

inline constexpr const char* kEmulatedCuda = "emulated";

// Its sets of kernels are the ways the device may behave: "early", in order; "late", permuted; "late:SEED", permuted otherwise; and with
// only one of its two queues late, "late-copies" and "late-ops". The same bits come out.
const BackendKind& emulated_cuda_kind();

// The same under the name of a real card, "cuda:0": what checks a card is rehearsed with the devices that it will find.
const BackendKind& rehearsed_cuda_kind();

inline BackendSpec emulated_card(const std::string& behaviour, int number = 0) {
  BackendSpec spec;
  spec.name = kEmulatedCuda;
  spec.device = number;
  spec.kernels = behaviour;
  return spec;
}

}  // namespace espalier::test

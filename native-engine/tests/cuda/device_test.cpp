// Which cards the CUDA backend offers and why it may offer none: what the driver reports, and which part of that decides bits.
#include <cstdlib>

#include "backend_ops/op_fixture.h"
#include "cuda_emulator/emulated_kind.h"
#include "cuda_emulator/emulator.h"
#include "cuda_kind.h"
#include "free_memory.h"

namespace espalier::test {

namespace {

using cuda::emulated::Card;
using cuda::emulated::Cards;

// Shows these cards as those of the machine while it lives.
class Machine {
 public:
  explicit Machine(Cards cards) : before_(cuda::emulated::show_cards(std::move(cards))) {}
  ~Machine() { cuda::emulated::show_cards(std::move(before_)); }

 private:
  Cards before_;
};

const Card kHopper{"H100", 132, 9, 0, uint64_t{80} << 30, uint64_t{80} << 30},
    kAmpere{"RTX 3090", 82, 8, 6, uint64_t{24} << 30, uint64_t{7} << 30}, kOld{"V100", 80, 7, 0, uint64_t{16} << 30, uint64_t{16} << 30},
    kNewer{"B200", 148, 10, 0, uint64_t{180} << 30, uint64_t{180} << 30};

std::string fingerprint_of(int card) {
  BackendSpec spec{"cuda", card, 0, ""};
  return cuda::emulated::cuda_kind().fingerprint(spec);
}

}  // namespace

TEST(CudaDevice, EachCardIsListedWithTheCodeThatItRuns) {
  const Machine machine({{kHopper, kAmpere, kOld, kNewer}, "13.0", ""});
  const auto devices = cuda::emulated::cuda_kind().devices();
  ASSERT_EQ(devices.size(), 4u);
  EXPECT_EQ(devices[0].name, "cuda:0");
  EXPECT_EQ(devices[0].kernels_in_use, "sm_90");
  EXPECT_EQ(devices[1].model, "RTX 3090");
  EXPECT_EQ(devices[1].kernels_in_use, "sm_80");
  EXPECT_EQ(devices[1].memory_bytes, uint64_t{24} << 30);
  EXPECT_EQ(devices[0].memory_available_bytes, uint64_t{79} << 30) << "the driver keeps some";
  EXPECT_EQ(devices[1].memory_available_bytes, uint64_t{7} << 30) << "others hold the rest";
  EXPECT_EQ(devices[2].problem, "compute capability 7.0 is below 8.0, the least that is supported");
  EXPECT_EQ(devices[3].kernels_in_use, "compute_80");
  EXPECT_EQ(devices[0].problem + devices[1].problem + devices[3].problem, "");
}

// Each engine leaves the choice of a card to the machine: the first engine by "auto", the second by "auto:1", and so on.
TEST(CudaDevice, EnginesShareOutTheCardsThatCanBeUsed) {
  const std::vector<const BackendKind*> kinds{&cuda::emulated::cuda_kind(), &emulated_cuda_kind()};
  const auto chosen = [&](const char* device) {
    const BackendSpec spec = resolve_backend(parse_device(device, 1), kinds);
    return spec.name + ":" + std::to_string(spec.device);
  };
  {
    const Machine machine({{kOld, kHopper, kAmpere}, "13.0", ""});
    EXPECT_EQ(chosen("auto"), "cuda:1");
    EXPECT_EQ(chosen("auto:1"), "cuda:2");
    EXPECT_EQ(chosen("auto:2"), "cuda:1");
    EXPECT_EQ(chosen("cuda:2"), "cuda:2");
    EXPECT_THROW(chosen("cuda:0"), Error) << "too old";
    EXPECT_THROW(chosen("cuda:3"), Error) << "not there";
  }
  const Machine machine({{kOld}, "13.0", ""});
  EXPECT_EQ(chosen("auto"), std::string(kEmulatedCuda) + ":0") << "the next kind";
}

TEST(CudaDevice, WithoutCardsOneEntrySaysWhy) {
  const Machine machine({{}, "", "no NVIDIA driver is loaded"});
  const auto devices = cuda::emulated::cuda_kind().devices();
  ASSERT_EQ(devices.size(), 1u);
  EXPECT_EQ(devices[0].name, "cuda");
  EXPECT_EQ(devices[0].problem, "no NVIDIA driver is loaded");
}

TEST(CudaDevice, TheFingerprintTellsCardsAndTheOverrideOfTf32) {
  const Machine machine({{kHopper, kAmpere, kNewer}, "13.0", ""});
  EXPECT_NE(fingerprint_of(0), fingerprint_of(1));
  const std::string hopper = fingerprint_of(0), newer = fingerprint_of(2);
  {
    const Machine updated({{kHopper, kAmpere, kNewer}, "13.1", ""});
    EXPECT_EQ(fingerprint_of(0), hopper) << "its code is compiled";
    EXPECT_NE(fingerprint_of(2), newer) << "its code is translated by the driver";
  }
  setenv("NVIDIA_TF32_OVERRIDE", "1", 1);
  EXPECT_NE(fingerprint_of(0), hopper);
  unsetenv("NVIDIA_TF32_OVERRIDE");
}

// The driver's management library tells the free memory. This test also has a run of its own, in which the loader finds a stand-in for that
// library.
TEST(CudaDevice, FreeMemoryIsAskedOfTheDriver) {
  const char* card = std::getenv("STAND_IN_CARD");
  EXPECT_EQ(cuda::emulated::free_memory_of("no such card"), std::nullopt);
  if (card) {
    EXPECT_EQ(cuda::emulated::free_memory_of(card), uint64_t{5} << 30);
  }
}

#ifdef ESPALIER_WITH_CUDA
// Tests this machine, or one whose driver is a stand-in (tests/cuda/stand_ins/driver.cpp). An environment variable names the problem that
// must be reported.
TEST(CudaDevice, WhatTheDriverSaysIsTold) {
  const char* expected = std::getenv("ESPALIER_TEST_DRIVER_PROBLEM");
  int entries = 0;
  for (const DeviceDescription& d : list_devices()) {
    if (!d.name.starts_with("cuda")) continue;
    entries++;
    EXPECT_NE(d.problem.empty(), d.memory_bytes == 0) << d.name << ": " << d.problem;
    if (expected) {
      EXPECT_EQ(d.problem, expected);
    }
    if (d.problem.empty()) continue;
    EXPECT_THROW(make_backend(parse_device(d.name, 1)), Error);
  }
  EXPECT_GT(entries, 0);
  if (expected) {
    EXPECT_EQ(resolve_backend({}).name, "cpu");
  }
}
#endif

}  // namespace espalier::test

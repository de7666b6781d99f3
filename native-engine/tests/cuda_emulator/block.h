// Runs a kernel's grid on one thread of the host: blocks one after the other, a block's threads as fibers which change where they wait
// for each other. A thread that waits in vain, or with others who wait elsewhere, is an error: the launch throws.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <source_location>
#include <string>
#include <vector>

#include "fiber.h"

namespace espalier::cuda::emulator {

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr Dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  uint64_t count() const { return uint64_t{x} * y * z; }
};

// How the emulated device behaves where the real one is free to. Bits must not depend on it.
struct Behaviour {
  bool late = false;  // what is asynchronous is done when it is waited for, not at once
  uint64_t seed = 0;  // of the orders of blocks, warps and lanes; 0: as they are numbered
};

struct Shape {
  const char* name;
  Dim3 grid, block;
  uint32_t shared_bytes = 0;  // dynamic
  uint64_t shared_most = 0;   // static and dynamic together
};

void run_grid(const Shape& shape, const Behaviour& behaviour, const std::function<void()>& kernel);

// --- what follows is called by the threads of a running grid

extern constinit thread_local Dim3 thread_index, block_index, block_size, grid_size;

using Site = std::source_location;
inline constexpr int kWarp = 32;
inline constexpr uint32_t kAllLanes = 0xffffffffu;

[[noreturn]] void fail(const std::string& what, const Site& site);
int lane_of_thread();
void barrier(const Site& site);
// All lanes of `mask` come here, each with a value of its own; the last to come calls act(the values by lane) for all.
using Act = void (*)(void* const* by_lane);
void meet(uint32_t mask, void* mine, const Site& site, Act act);

// Shared memory of the running block, full of 0xff at its start. `key`: one for each declaration.
std::byte* static_shared(const void* key, uint64_t bytes);
std::byte* dynamic_shared_memory();

struct AsyncCopy {
  std::byte* to;
  const std::byte* from;
  int bytes;  // of 16; the rest are zeros
};
void copy_async(const AsyncCopy& copy);
void commit_copies();
void wait_for_copies(int pending);

}  // namespace espalier::cuda::emulator

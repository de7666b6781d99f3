// Runs a kernel's grid on one thread of the host: one block after the other. A block's threads are fibers, which switch where they wait for
// each other. A thread that waits in vain, or meets threads that wait elsewhere, is an error: the launch throws.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <source_location>
#include <string>
#include <vector>

#include "blocks/fiber.h"

namespace espalier::cuda::emulator {

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr Dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  uint64_t count() const { return uint64_t{x} * y * z; }
};

// How the emulated device behaves where the real one is free to choose. No bit may depend on it.
struct Behaviour {
  bool late = false;  // asynchronous work is done only when it is waited for, not at once
  uint64_t seed = 0;  // permutes blocks, warps and lanes; with 0 they run in the order of their numbers
};

struct Shape {
  const char* name;
  Dim3 grid, block;
  uint32_t shared_bytes = 0;  // dynamic shared memory
  uint64_t shared_most = 0;   // the most that static and dynamic shared memory may take together
};

void run_grid(const Shape& shape, const Behaviour& behaviour, const std::function<void()>& kernel);

// --- The threads of a running grid call the functions from here on.

// These variables have no TLS model of their own. Initial-exec would be quicker, since kernels read them all the time, but a library that
// is loaded later has too little room for its variables beside those of CUDA's runtime.
extern constinit thread_local Dim3 thread_index, block_index, block_size, grid_size;

using Site = std::source_location;
inline constexpr int kWarp = 32;
inline constexpr uint32_t kAllLanes = 0xffffffffu;

[[noreturn]] void fail(const std::string& what, const Site& site);
[[noreturn]] void fail_unaligned(uint64_t bytes, const Site& site);
int lane_of_thread();
void barrier(const Site& site);
// All lanes of `mask` must call this, each with a value of its own. The last lane to arrive calls act(the values by lane) for all.
using Act = void (*)(void* const* by_lane);
void meet(uint32_t mask, void* mine, const Site& site, Act act);

// The shared memory of the running block, filled with 0xff at its start. `key` differs for each declaration.
std::byte* static_shared(const void* key, uint64_t bytes);
std::byte* dynamic_shared_memory();

struct AsyncCopy {
  std::byte* to;
  const std::byte* from;
  int bytes;  // how many of the 16 bytes are copied; the rest become zeros
};
void copy_async(const AsyncCopy& copy);
void commit_copies();
void wait_for_copies(int pending);

}  // namespace espalier::cuda::emulator

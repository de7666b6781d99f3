// Runs the threads of a block as fibers: each has a stack of its own, and one thread of the host switches between them by hand.
#pragma once
#include <cstddef>
#include <cstdint>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace espalier::cuda::emulator {

class Fiber {
 public:
  // Lets the fiber begin with `entry`, which must never return, when it is switched to.
  void prepare(std::byte* stack, uint64_t bytes, void (*entry)());
  // Goes on with `to` and returns when another fiber switches to *this. `last`: no fiber will switch back.
  void switch_to(Fiber& to, bool last = false);

  static void entered();  // must be called first in `entry`

 private:
#if defined(__x86_64__)
  void* stack_pointer_ = nullptr;
#else
  ucontext_t context_;
#endif
  const void* stack_ = nullptr;  // the lowest address; nullptr until it is known, for the host thread's own stack
  uint64_t bytes_ = 0;
  void* shadow_ = nullptr;  // AddressSanitizer's shadow of the stack
};

// The most fibers of a thread, and the size of their stacks. The thread keeps the stacks for its next blocks.
inline constexpr int kMostFibers = 1024;
inline constexpr uint64_t kStackBytes = 128 << 10;
std::byte* fiber_stack(int index);

}  // namespace espalier::cuda::emulator

// Threads of a block as fibers: stacks of their own on one thread of the host, which changes from one to the other by hand.
#pragma once
#include <cstddef>
#include <cstdint>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace espalier::cuda::emulator {

class Fiber {
 public:
  // Begins with `entry`, which must never return, when it is switched to next.
  void prepare(std::byte* stack, uint64_t bytes, void (*entry)());
  // Goes on with `to`; returns when another fiber switches to *this. `last`: no fiber will.
  void switch_to(Fiber& to, bool last = false);

  static void entered();  // first thing in `entry`

 private:
#if defined(__x86_64__)
  void* stack_pointer_ = nullptr;
#else
  ucontext_t context_;
#endif
  const void* stack_ = nullptr;  // lowest address; nullptr until known, for the host thread's own
  uint64_t bytes_ = 0;
  void* shadow_ = nullptr;  // AddressSanitizer's
};

// The most fibers of a thread, and the size of their stacks, which the thread keeps.
inline constexpr int kMostFibers = 1024;
inline constexpr uint64_t kStackBytes = 128 << 10;
std::byte* fiber_stack(int index);

}  // namespace espalier::cuda::emulator

#include "blocks/fiber.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace espalier::cuda::emulator {

namespace {

// The fiber that switched last. The fiber that goes on tells the sanitizer that it comes from there.
[[maybe_unused]] thread_local Fiber* came_from = nullptr;

constexpr uint64_t kGuard = 4096;

std::byte* map_stacks() {
  const uint64_t bytes = kMostFibers * (kStackBytes + kGuard);
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) {
    std::fprintf(stderr, "emulator: no memory for stacks\n");
    std::abort();
  }
  auto* stacks = static_cast<std::byte*>(p);
  for (int i = 0; i < kMostFibers; i++) mprotect(stacks + i * (kStackBytes + kGuard), kGuard, PROT_NONE);
  return stacks;
}

// Removes the sanitizer's marks that an abandoned fiber left on this stack.
void clean([[maybe_unused]] std::byte* stack, [[maybe_unused]] uint64_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(stack, bytes);
#endif
}

}  // namespace

std::byte* fiber_stack(int index) {
  static thread_local std::byte* const stacks = map_stacks();
  return stacks + index * (kStackBytes + kGuard) + kGuard;
}

#if defined(__x86_64__)

// Saves the registers that a function must preserve on the stack, and goes on with the other stack, on which they were saved in the same
// way. It ends with a jump, because the processor predicts that a return goes where the last call came from, which was another fiber's.
extern "C" void espalier_switch_stacks(void** from, void* to);
asm(R"(
.text
.p2align 4
.type espalier_switch_stacks, @function
espalier_switch_stacks:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rdx
  jmpq *%rdx
.size espalier_switch_stacks, .-espalier_switch_stacks
)");

void Fiber::prepare(std::byte* stack, uint64_t bytes, void (*entry)()) {
  stack_ = stack;
  bytes_ = bytes;
  clean(stack, bytes);
  // Stacks lie a power of two apart. If all began alike, their hot lines would share a few sets of the cache.
  const auto index = reinterpret_cast<uint64_t>(stack) / kGuard;
  auto top = (reinterpret_cast<uint64_t>(stack) + bytes - index * 7 % 61 * 64) & ~uint64_t{15};
  auto* words = reinterpret_cast<uint64_t*>(top);
  *--words = 0;  // a return address for `entry`, which aligns the stack as after a call
  *--words = reinterpret_cast<uint64_t>(entry);
  for (int i = 0; i < 6; i++) *--words = 0;
  stack_pointer_ = words;
}

#else
void Fiber::prepare(std::byte* stack, uint64_t bytes, void (*entry)()) {
  stack_ = stack;
  bytes_ = bytes;
  clean(stack, bytes);
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack;
  context_.uc_stack.ss_size = bytes;
  context_.uc_link = nullptr;
  makecontext(&context_, entry, 0);
}
#endif

void Fiber::switch_to(Fiber& to, [[maybe_unused]] bool last) {
#if defined(__SANITIZE_ADDRESS__)
  came_from = this;
  __sanitizer_start_switch_fiber(last ? nullptr : &shadow_, to.stack_, to.bytes_);
#endif
#if defined(__x86_64__)
  espalier_switch_stacks(&stack_pointer_, to.stack_pointer_);
#else
  swapcontext(&context_, &to.context_);
#endif
#if defined(__SANITIZE_ADDRESS__)
  const void* stack = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(shadow_, &stack, &bytes);
  if (came_from->stack_ == nullptr) came_from->stack_ = stack, came_from->bytes_ = bytes;
#endif
}

void Fiber::entered() {
#if defined(__SANITIZE_ADDRESS__)
  const void* stack = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(nullptr, &stack, &bytes);
  if (came_from->stack_ == nullptr) came_from->stack_ = stack, came_from->bytes_ = bytes;
#endif
}

}  // namespace espalier::cuda::emulator
